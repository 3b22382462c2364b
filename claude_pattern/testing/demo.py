"""The demo words of the prompt grammar: what each shows, listed in `claude_pattern.testing.scenarios`.

A demo that calls tools goes on after their results, by the number of answers that its turn has already.
"""

import re
import textwrap
from typing import Any

from claude_pattern.testing.answers import Answer, Failure, Reply, Text, Thinking, ToolUse
from claude_pattern.testing.commands import say
from claude_pattern.testing.conversation import Call, ToolResult

_PLAN_FILE = re.compile(r"plan (?:file (?:already )?exists at|at|file at):? (\S+\.md)")
_PLAN = """\
# Plan: a greeting page

1. Write `greeting.py` with one function that greets a name.
2. Test it with an empty name and with a long one.
3. Show the result.
"""
_TASKS = {
    "Read the code": "Reading the code",
    "Write the change": "Writing the change",
    "Run the tests": "Running the tests",
}


def quote_results(call: Call) -> Reply:
    """The short text after tool calls, with what they brought."""
    return say("\n\n".join(_quote(result) for result in call.results))


def bash(_call: Call, _argument: str) -> Answer:
    """A command that needs no permission and really runs."""
    command = 'echo "Hello from a real shell" && pwd && ls'
    return _announce("I run a command in the working folder.", "Bash", command=command, description="Look around")


def permission(_call: Call, _argument: str) -> Answer:
    """A command that the CLI asks about."""
    command = "echo 'You allowed this file.' > permission-demo.txt && cat permission-demo.txt"
    words = "I would like to write a file. The agent asks you first: allow it or deny it."
    return _announce(words, "Bash", command=command, description="Write permission-demo.txt")


def question(_call: Call, _argument: str) -> Answer:
    """Two questions: one choice, and several choices."""
    questions = [
        _question("Which colour shall the page have?", "Colour", {"Blue": "Calm and cool", "Green": "Fresh"}),
        _question(
            "What shall be on it?",
            "Content",
            {"A title": "In large letters", "A picture": "Of a cat", "A form": "With one field"},
            several=True,
        ),
    ]
    return _announce("Before I begin, I have two questions.", "AskUserQuestion", questions=questions)


def plan(call: Call, _argument: str) -> Answer:
    """Plan mode: enter it, write the plan's file where the CLI wants it, ask for approval."""
    path = _plan_file(call)
    done = {result.name for result in (*call.earlier_results, *call.results) if not result.is_error}
    if "ExitPlanMode" in done or any(result.is_error for result in call.results):
        return quote_results(call)
    if path is None:
        if "EnterPlanMode" in done:
            return Reply((ToolUse("ExitPlanMode", {"plan": _PLAN}),))
        return _announce("I make a plan first.", "EnterPlanMode")
    if "Write" not in done:
        return _announce("I write the plan down.", "Write", file_path=path, content=_PLAN)
    return _announce("Here is my plan.", "ExitPlanMode")


def long(_call: Call, _argument: str) -> Answer:
    """A stream of half a minute at a human pace: something to interrupt."""
    return say("\n\n".join([f"## Chapter {n}\n\n" + _PARAGRAPH.format(n=n) for n in range(1, 26)]))


def error(call: Call, _argument: str) -> Answer:
    """Two tries find the service busy and the third ends the turn; when it is said again, it works."""
    if call.repeats % 2:
        return say("This time the service answered. The first time it was overloaded, as you saw.")
    return Failure(529, text="Overloaded (scripted)", final=call.attempt > 2)


def thinking(_call: Call, _argument: str) -> Answer:
    """A thinking block before the answer."""
    thought = (
        "The user wants to see how thinking is shown. I could answer at once. But a short thought is better: "
        "17 times 23 is 17 times 20, which is 340, and 17 times 3, which is 51. Together that makes 391."
    )
    return Reply((Thinking(thought), Text("17 times 23 is **391**. My thoughts are above; they fold away.")))


def subagent(_call: Call, _argument: str) -> Answer:
    """A sub-agent that runs a command of its own."""
    return _announce(
        "I let a sub-agent do it.",
        "Agent",
        description="Look around",
        prompt="Show me the bash",
        subagent_type="general-purpose",
        run_in_background=False,
    )


def todo(call: Call, _argument: str) -> Answer:
    """A list of tasks that are created, then worked off one after another."""
    if any(result.is_error for result in call.results):
        return quote_results(call)
    if call.step == 0:
        tasks = (
            ToolUse("TaskCreate", {"subject": subject, "description": f"{subject}, as a demo.", "activeForm": active})
            for subject, active in _TASKS.items()
        )
        return Reply((Text("I write down what is to do, and work it off."), *tasks))
    numbers = re.findall(r"#(\d+) created", "\n".join(r.text for r in (*call.earlier_results, *call.results)))
    # Two answers for each task: one begins it, one completes it.
    index, completes = divmod(call.step - 1, 2)
    if index >= len(numbers):
        return say(f"All {len(numbers)} tasks are done.")
    status = "completed" if completes else "in_progress"
    return Reply((ToolUse("TaskUpdate", {"taskId": numbers[index], "status": status}),))


def table(_call: Call, _argument: str) -> Answer:
    """A table."""
    return say(_TABLE)


def code(_call: Call, _argument: str) -> Answer:
    """Code in several languages."""
    return say(_CODE)


def markdown(_call: Call, _argument: str) -> Answer:
    """Everything that Markdown can do."""
    return say(_MARKDOWN)


def _announce(words: str, name: str, **tool_input: Any) -> Reply:
    return Reply((Text(words), ToolUse(name, tool_input)))


def _quote(result: ToolResult) -> str:
    text = result.text
    if result.name == "Agent":
        report = re.search(r"The report follows:\n(.*?)\nagentId:", text, re.DOTALL)
        text = textwrap.dedent(report[1]) if report else text
    shown = text if len(text) <= 400 else text[:400] + "…"
    return f"The tool {result.name} {'failed' if result.is_error else 'answered'}: {shown or '(nothing)'}"


def _question(text: str, header: str, options: dict[str, str], *, several: bool = False) -> dict[str, Any]:
    choices = [{"label": label, "description": description} for label, description in options.items()]
    return {"question": text, "header": header, "multiSelect": several, "options": choices}


def _plan_file(call: Call) -> str | None:
    """Where the CLI wants the plan, when it is in plan mode: the last word on it in the conversation."""
    text = "\n".join(str(message.get("content")) for message in call.body.get("messages", []))
    left = text.rfind("## Exited Plan Mode")
    paths = [match for match in _PLAN_FILE.finditer(text) if match.start() > left]
    return paths[-1][1] if paths else None


_PARAGRAPH = (
    "This is paragraph {n} of a long answer. It is written word by word, as a model would, so that you can see how "
    "the page follows the text, scroll up while it grows, write the next message in the meantime, or stop it. "
    "Nothing is lost when you reload the page or open the session in a second window: paragraph {n} stays where it is."
)
_TABLE = """\
Three ways to make coffee:

| Method | Minutes | Strength | Needs |
|:-------|--------:|:--------:|-------|
| Espresso | 1 | strong | a machine |
| French press | 4 | medium | `coarse` ground |
| Cold brew | 720 | mild | **patience** |
"""
_CODE = '''\
A function in Python:

```python
from dataclasses import dataclass


@dataclass(frozen=True)
class Greeting:
    """A greeting for one person."""

    name: str

    def text(self) -> str:
        return f"Hello, {self.name or 'stranger'}!"


print(Greeting("Ada").text())
```

The same in a shell, and what it answers:

```bash
name="Ada"
echo "Hello, ${name:-stranger}!"
```

```text
Hello, Ada!
```

A change to it:

```diff
-        return f"Hello, {self.name}!"
+        return f"Hello, {self.name or 'stranger'}!"
```

And as data:

```json
{"name": "Ada", "languages": ["Python", "SQL"], "born": 1815}
```
'''
_MARKDOWN = """\
# Heading one

Text with **bold**, *italic*, ~~struck~~ and `code`, a [link](https://example.com/), and a line
that goes on in the next line.

## Lists

1. First
2. Second
   - nested
   - [x] done
   - [ ] to do
3. Third

> A quotation
> > within a quotation

### A table and code

| Left | Right |
|:-----|------:|
| a | 1 |
| b | 2 |

```python
print("Hello")
```

---

Characters of many scripts: äöü ß, čeština, ελληνικά, русский, 中文, 日本語, العربية, 🙂 👩‍💻.
"""
