"""The "!" commands of the prompt grammar: one handler each, listed in `claude_pattern.testing.scenarios`."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from claude_pattern.testing.answers import Answer, Block, Failure, Reply, Text, Thinking, ToolUse
from claude_pattern.testing.conversation import Call

Handler = Callable[[Call, str], Answer]
"""Makes the answer from the call and from what follows the command's name."""


class ScenarioError(ValueError):
    """A command or a script is written wrongly; the text says what is wrong."""


def say(*texts: str, **details: Any) -> Reply:
    """A reply of text blocks; `details` are further fields of the Reply."""
    return Reply(tuple(Text(text) for text in texts), **details)


def numbered(count: int) -> str:
    """The words "word1 word2 ..." by which a loss or a repetition shows."""
    return " ".join(f"word{n}" for n in range(1, count + 1))


def text(_call: Call, argument: str) -> Answer:
    """!text TEXT."""
    return say(argument)


def deltas(_call: Call, argument: str) -> Answer:
    """!deltas N [DELAY_MS]."""
    words = argument.split()
    return say(numbered(_count(words, 0)), pace=_number(words, 1, 0) / 1000)


def chars(_call: Call, argument: str) -> Answer:
    """!chars N: words of 4096 characters make few deltas of a large text."""
    count = _count(argument.split(), 0)
    return say(("x" * 4095 + " ") * (count // 4096) + "x" * (count % 4096))


def tool(_call: Call, argument: str) -> Answer:
    """!tool NAME [{INPUT}]."""
    name, _, text = argument.partition(" ")
    if not name:
        raise ScenarioError("the name is missing")
    return Reply((ToolUse(name, _json(text, dict)),))


def tools(_call: Call, argument: str) -> Answer:
    """!tools [BLOCK, ...]."""
    return Reply(tuple(_block(item) for item in _json(argument, list)))


def loop(call: Call, argument: str) -> Answer:
    """!loop N COMMAND."""
    count, _, command = argument.partition(" ")
    total = _count([count], 0)
    if call.step >= total:
        return say(f"The loop is done: {call.step} calls.")
    step = {"command": command or "true", "description": f"Call {call.step + 1} of {total}"}
    return Reply((ToolUse("Bash", step),))


def think(_call: Call, argument: str) -> Answer:
    """!think [TEXT]."""
    return Reply((Thinking(argument or "Let me think about this for a moment."), Text("I have thought about it.")))


def status(_call: Call, argument: str) -> Answer:
    """!status CODE [RETRY_AFTER]."""
    words = argument.split()
    return Failure(_status_code(words), _number(words, 1, 0) if len(words) > 1 else None)


def once(call: Call, argument: str) -> Answer:
    """!once CODE [N]."""
    words = argument.split()
    if call.attempt <= _number(words, 1, 1):
        return Failure(_status_code(words))
    return say(f"Answered at try {call.attempt}.")


def cut(call: Call, argument: str) -> Answer:
    """!cut N[b] [TIMES|always]."""
    words = argument.split()
    amount = re.fullmatch(r"(\d+)(b?)", words[0]) if words else None
    if amount is None:
        raise ScenarioError("N must be a number of deltas, or of bytes with a b behind it")
    count, in_bytes = int(amount[1]), bool(amount[2])
    always = words[1:] == ["always"]
    whole = say(numbered(50 if in_bytes else 2 * count + 10))
    if always and not call.stream:
        return replace(whole, drop=True)
    if not always and call.attempt > _number(words, 1, 1):
        return whole
    return replace(whole, cut_bytes=count) if in_bytes else replace(whole, cut_deltas=count)


def stall(_call: Call, argument: str) -> Answer:
    """!stall SECONDS."""
    return say(numbered(20), stall=_number(argument.split(), 0))


def hang(_call: Call, argument: str) -> Answer:
    """!hang SECONDS."""
    return say("Here at last.", hang=_number(argument.split(), 0))


def malformed(_call: Call, _argument: str) -> Answer:
    """!malformed."""
    return say(numbered(20), malformed=True)


def error_event(_call: Call, argument: str) -> Answer:
    """!error-event [TYPE]."""
    return say(numbered(20), error_event=argument or "overloaded_error")


def stop(_call: Call, argument: str) -> Answer:
    """!stop REASON."""
    return say("The model stops here.", stop=argument or "max_tokens")


def usage(_call: Call, argument: str) -> Answer:
    """!usage INPUT OUTPUT."""
    words = argument.split()
    read, written = _count(words, 0), _count(words, 1)
    return say(f"This cost {read} input and {written} output tokens.", usage=(read, written))


def echo(call: Call, argument: str) -> Answer:
    """!echo [FIELD]."""
    secret = ("x-api-key", "authorization")
    headers = {name: f"...{value[-4:]}" if name in secret else value for name, value in call.headers.items()}
    whole = {**call.body, "headers": headers}
    shown = {
        "model": call.body.get("model"),
        "stream": call.stream,
        "max_tokens": call.body.get("max_tokens"),
        "messages": len(call.body.get("messages", [])),
        "tools": [item.get("name") for item in call.body.get("tools") or []],
        "origin": call.origin,
        "headers": headers,
    }
    value = whole.get(argument) if argument else shown
    return say(f"```json\n{json.dumps(value, indent=1, ensure_ascii=False)}\n```")


def hostile(_call: Call, _argument: str) -> Answer:
    """!hostile."""
    return say(_HOSTILE)


def _block(item: Any) -> Block:
    match item:
        case {"name": str(name)}:
            return ToolUse(name, item.get("input") or {})
        case {"text": str(words)}:
            return Text(words)
        case {"thinking": str(words)}:
            return Thinking(words)
    raise ScenarioError('each block is {"name", "input"}, {"text"} or {"thinking"}')


def _json(written: str, kind: type) -> Any:
    try:
        value = json.loads(written.strip() or "{}")
    except ValueError as error:
        raise ScenarioError(f"that is no JSON ({error})") from error
    if not isinstance(value, kind):
        raise ScenarioError(f"the JSON must be {'an object' if kind is dict else 'a list'}")
    return value


def _number(words: list[str], index: int, default: float | None = None) -> float:
    if default is not None and index >= len(words):
        return default
    try:
        number = float(words[index])
    except (IndexError, ValueError):
        raise ScenarioError("a number is missing") from None
    if not 0 <= number <= 1e9:
        raise ScenarioError("a number is out of range")
    return number


def _count(words: list[str], index: int) -> int:
    return int(_number(words, index))


def _status_code(words: list[str]) -> int:
    code = _count(words, 0)
    if not 400 <= code <= 599:
        raise ScenarioError("CODE must be from 400 to 599")
    return code


_HOSTILE = """\
<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">
<style>body { display: none }</style><iframe src="https://example.com/"></iframe>
<b onclick="window.hacked = 1">bold by HTML</b>

[a link of JavaScript](javascript:window.hacked=1) [a data link](data:text/html,<script>window.hacked=1</script>)
[an innocent link](https://example.com/?q=1 "title") ![a remote image](https://example.com/track.png)

<https://example.com/autolink> {{ 7 * 7 }} ${7 * 7} `<script>window.hacked = 1</script>`

```html
<script>window.hacked = 1</script>
```
"""
