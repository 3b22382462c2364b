"""What the scripted model answers to which prompt.

`SCENARIOS` is the one table: the dispatch, the text of "help" and the documentation are made from it. A prompt that is
one of the demo words ("markdown", also "show me the markdown") plays that demo; a prompt that begins with "!" is a
command for tests; any other prompt gets a friendly answer that quotes it and says what the scripted model can do.
After a tool result the model quotes what the tool brought, unless the scenario goes on by itself (``!loop``).
The CLI's own requests (a session's title, a web search, the summary of a compaction) are answered as they expect.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from claude_pattern.testing import commands, demo
from claude_pattern.testing.answers import Answer, Raw, Reply, Text, ToolUse
from claude_pattern.testing.commands import Handler, ScenarioError, say
from claude_pattern.testing.conversation import Call


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table."""

    usage: str
    meaning: str
    handler: Handler
    continues: bool = False
    """The handler is also asked after each tool result."""

    @property
    def name(self) -> str:
        """The word that calls it."""
        return self.usage.split()[0]

    @property
    def is_demo(self) -> bool:
        """A plain word for people, not a command for tests."""
        return not self.usage.startswith("!")


def _help(_call: Call, _argument: str) -> Answer:
    return say(help_text())


def _demo_word(call: Call, argument: str) -> Answer:
    scenario = _by_name.get(argument.lower())
    if scenario is None or not scenario.is_demo:
        raise ScenarioError("there is no such demo word")
    return play(scenario.name, call)


SCENARIOS = (
    Scenario("help", "lists what the scripted model can do", _help),
    Scenario("markdown", "an answer with everything that Markdown can do", demo.markdown),
    Scenario("code", "code in several languages", demo.code),
    Scenario("table", "a table", demo.table),
    Scenario("bash", "a command that really runs", demo.bash),
    Scenario("permission", "a command that needs your permission", demo.permission),
    Scenario("question", "two questions with choices", demo.question),
    Scenario("plan", "a plan for your approval", demo.plan, continues=True),
    Scenario("todo", "a list of tasks that is worked off", demo.todo, continues=True),
    Scenario("subagent", "a sub-agent that runs a command", demo.subagent),
    Scenario("thinking", "the model's thoughts before its answer", demo.thinking),
    Scenario("long", "a long stream to scroll, to interrupt or to queue messages behind", demo.long),
    Scenario("error", "a service that is overloaded; say it again and it works", demo.error),
    Scenario("!text TEXT", "says TEXT", commands.text),
    Scenario("!deltas N [DELAY_MS]", "streams the words word1 ... wordN, one in each delta", commands.deltas),
    Scenario("!chars N", "says a text of N characters", commands.chars),
    Scenario("!think [TEXT]", "thinks TEXT, then answers", commands.think),
    Scenario("!tool NAME [{INPUT}]", "calls the tool NAME with a JSON object as its input", commands.tool),
    Scenario(
        "!tools [BLOCK, ...]",
        'sends several blocks in one message: {"name", "input"}, {"text"} or {"thinking"}',
        commands.tools,
    ),
    Scenario("!loop N COMMAND", "runs COMMAND with Bash N times, one after another", commands.loop, continues=True),
    Scenario("!question", "the same as question", demo.question),
    Scenario("!plan", "the same as plan", demo.plan, continues=True),
    Scenario("!markdown", "the same as markdown", demo.markdown),
    Scenario("!demo WORD", "the demo WORD, for scripts", _demo_word, continues=True),
    Scenario("!hostile", "HTML, scripts, JavaScript links and remote images that must stay text", commands.hostile),
    Scenario("!echo [FIELD]", "shows what the model was sent: a summary, or one field of the request", commands.echo),
    Scenario("!usage INPUT OUTPUT", "reports so many tokens", commands.usage),
    Scenario("!stop REASON", "ends with this stop_reason (max_tokens, refusal, ...)", commands.stop),
    Scenario("!status CODE [RETRY_AFTER]", "fails with the HTTP status CODE at every try", commands.status),
    Scenario("!once CODE [N]", "fails N times (1) with the HTTP status CODE, then answers", commands.once),
    Scenario(
        "!cut N[b] [TIMES|always]",
        "cuts the stream after N deltas (Nb: bytes) at the first TIMES (1) tries; always: also without a stream",
        commands.cut,
    ),
    Scenario("!stall SECONDS", "is silent for SECONDS in the middle of the stream", commands.stall),
    Scenario("!hang SECONDS", "sends nothing at all for SECONDS", commands.hang),
    Scenario("!malformed", "sends an event that is no JSON in the middle of the stream", commands.malformed),
    Scenario(
        "!error-event [TYPE]",
        "ends the stream in the middle with an error event (overloaded_error)",
        commands.error_event,
    ),
)
_CONTINUATIONS = ("Output token limit hit", "Your response above was stopped")
"""How the prompts begin by which the CLI lets the model go on after max_tokens and after a refusal."""

_by_name = {scenario.name: scenario for scenario in SCENARIOS}


def help_text() -> str:
    """The table as Markdown: first the demo words, then the commands."""
    return (
        "I am a scripted model: no account, no cost, always the same answers. Say one of these words:\n\n"
        f"{_rows([s for s in SCENARIOS if s.is_demo])}\n\n"
        f"For tests there are commands with more choice:\n\n{_rows([s for s in SCENARIOS if not s.is_demo])}"
    )


def answer(call: Call) -> Answer:
    """The answer of the built-in scenarios to `call`."""
    reply = _answer_side(call) if call.origin == "side" else play(call.prompt, call)
    if not call.interjections or not isinstance(reply, Reply):
        return reply
    heard = Text("\n".join(f"You also wrote: {text}" for text in call.interjections))
    return replace(reply, blocks=(heard, *reply.blocks))


def play(prompt: str, call: Call) -> Answer:
    """Answer `call` as though `prompt` was its prompt."""
    scenario, argument = _find(prompt)
    if call.results and not (scenario is not None and scenario.continues):
        return demo.quote_results(call)
    if scenario is None:
        return _unknown(prompt, call)
    try:
        return scenario.handler(call, argument)
    except ScenarioError as error:
        return say(f"Write it as `{scenario.usage}`: {error}.")


def speak(text: str, call: Call) -> Answer:
    """Answer `call` with a text of a script or a test: a command when it begins with "!", else just said."""
    return play(text, call) if text.startswith("!") else say(text)


def _find(prompt: str) -> tuple[Scenario | None, str]:
    if prompt.startswith("!"):
        name, _, argument = re.sub(r"^(\S+)\s", r"\1 ", prompt).partition(" ")
        return _by_name.get(name), argument.strip()
    words = r"(?:please )?(?:(?:show|demo|try) )?(?:me )?(?:an? |the |some )?(\w+)[.!?]*"
    match = re.fullmatch(words, prompt.strip().lower())
    scenario = _by_name.get(match[1]) if match else None
    return (scenario if scenario is not None and scenario.is_demo else None), ""


def _unknown(prompt: str, call: Call) -> Reply:
    if prompt.startswith("!"):
        return say(f"I do not know the command {prompt.split()[0]}. Say `help` for the list.")
    if not prompt:
        return say(f"A background task has reported. {call.notice}" if call.notice else "There is nothing to answer.")
    if prompt.startswith(_CONTINUATIONS):
        return say("The model goes on.")
    if (output := _structured_output(call)) is not None:
        return output
    shown = prompt if len(prompt) <= 200 else prompt[:200] + "…"
    names = ", ".join(f"`{s.name}`" for s in SCENARIOS if s.is_demo)
    quoted = "\n".join(f"> {line}" for line in shown.splitlines())
    return say(
        f"You wrote:\n\n{quoted}\n\nI am a scripted model, so I cannot think about that, but I can show what this "
        f"place does. Say one of these words: {names}."
    )


def _structured_output(call: Call) -> Reply | None:
    """A value of the wanted form, when the session wants its answers structured."""
    for tool in call.body.get("tools") or []:
        if tool.get("name") == "StructuredOutput":
            return Reply((ToolUse("StructuredOutput", _fill(tool.get("input_schema") or {}, _gist(call.prompt))),))
    return None


def _answer_side(call: Call) -> Answer:
    """What the CLI needs for its own ends; never a tool call."""
    wanted = (call.body.get("output_config") or {}).get("format")
    if wanted:
        return say(json.dumps(_fill(wanted.get("schema") or {}, _gist(call.prompt))))
    tools = call.body.get("tools") or []
    if tools and all("input_schema" not in tool for tool in tools):
        return _web_search(call)
    if call.is_compaction:
        asked = sum(m.get("role") == "user" for m in call.body.get("messages", []))
        summary = f"The scripted summary of a conversation with {asked} user messages."
        return say(f"<analysis>Scripted.</analysis>\n<summary>\n{summary}\n</summary>")
    reply = play(call.prompt, call)
    return reply if not isinstance(reply, Reply) or reply.stop_reason != "tool_use" else _unknown(call.prompt, call)


def _fill(schema: dict[str, Any], text: str) -> Any:
    """A value that fits the JSON schema, with `text` for each string."""
    if schema.get("enum"):
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _fill(part, text) for name, part in schema.get("properties", {}).items()}
        case "array":
            return []
        case "integer" | "number":
            return 0
        case "boolean":
            return False
    return text


def _gist(prompt: str) -> str:
    """The first words of what stands between the tags of `prompt`."""
    inner = re.search(r"<(\w+)>\s*(.*?)\s*</\1>", prompt, re.DOTALL)
    words = (inner[2] if inner else prompt).split()[:5]
    return " ".join(words).capitalize() or "Scripted session"


def _web_search(call: Call) -> Reply:
    """A search that the API itself runs: its call, its results, and a word about them."""
    query = call.prompt.rpartition("query: ")[2]
    use_id = "srvtoolu_scripted"
    page = {
        "type": "web_search_result",
        "title": f"Scripted page about {query}",
        "url": "https://example.com/scripted",
        "encrypted_content": "c2NyaXB0ZWQ=",
        "page_age": None,
    }
    return Reply(
        (
            Raw({"type": "server_tool_use", "id": use_id, "name": "web_search", "input": {"query": query}}),
            Raw({"type": "web_search_tool_result", "tool_use_id": use_id, "content": [page]}),
            Text(f"One scripted page about {query}."),
        )
    )


def _rows(scenarios: list[Scenario]) -> str:
    escaped = ((s.usage.replace("|", "\\|"), s.meaning) for s in scenarios)
    lines = [f"| `{usage}` | {meaning} |" for usage, meaning in escaped]
    return "\n".join(["| Prompt | What happens |", "|---|---|", *lines])
