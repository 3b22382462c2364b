r"""Scripts for the scripted model: a file that says which prompt gets which answer.

The file is YAML or JSON, a list of steps (or a mapping with the list under ``steps``):

    - match: "weather in (\\w+)"         # a regular expression; found anywhere in the prompt
      reply: "It is sunny in \\1."       # a text to say, or a command of the prompt grammar
    - match: deploy
      times: 1                           # this step answers one prompt of a session; the next one goes on searching
      reply:                             # a list: one answer after another in the same turn
        - '!tool Bash {"command": "echo building"}'
        - "Deployed."
    - reply: "!once 529"                 # without match: answers the next prompt that no step before it answers

The first step that fits answers a prompt of the session's own conversation. A step without ``match`` is used once in
each session, one with ``match`` any number of times, unless ``times`` says otherwise. A retry of a call gets the same
step again. When no step fits, and after the end of a list, the built-in scenarios answer.
Sub-agents and the CLI's own requests never use up a step.
"""

import re
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from claude_pattern.testing.answers import Answer
from claude_pattern.testing.commands import ScenarioError
from claude_pattern.testing.conversation import Call
from claude_pattern.testing.scenarios import speak


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a script."""

    replies: tuple[str, ...]
    match: re.Pattern[str] | None = None
    times: int | None = None
    """How many prompts of one session it answers; None: any number."""


class Script:
    """The steps of a script, and how far each session has come in them. Called with a call, it answers it."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.steps = steps
        self._used: Counter[tuple[str, int]] = Counter()
        self._turns: dict[Hashable, int | None] = {}

    @classmethod
    def load(cls, path: Path) -> "Script":
        """Read the script at `path`. Raises ScenarioError with the file's name and the step, OSError if unreadable."""
        try:
            found = yaml.safe_load(path.read_text("utf-8"))
        except yaml.YAMLError as error:
            raise ScenarioError(f"{path}: this is neither YAML nor JSON: {error}") from error
        steps = found.get("steps") if isinstance(found, dict) else found
        if not isinstance(steps, list):
            raise ScenarioError(f"{path}: a script is a list of steps")
        return cls(tuple(_step(step, f"{path}: step {number}") for number, step in enumerate(steps, 1)))

    def __call__(self, call: Call) -> Answer | None:
        """The script's answer to `call`; None leaves it to the built-in scenarios."""
        if call.origin != "main" or not call.prompt:
            return None
        if call.turn not in self._turns:
            self._turns[call.turn] = self._choose(call)
        index = self._turns[call.turn]
        return None if index is None else _reply(self.steps[index], call)

    def _choose(self, call: Call) -> int | None:
        for index, step in enumerate(self.steps):
            used = (call.session_id, index)
            fits = step.match is None or step.match.search(call.prompt) is not None
            if fits and (step.times is None or self._used[used] < step.times):
                self._used[used] += 1
                return index
        return None


def _reply(step: Step, call: Call) -> Answer | None:
    if len(step.replies) == 1:
        text = _expand(step.replies[0], step, call)
        # A text that is just said after a tool call would hide what the tool brought.
        return None if call.results and not text.startswith("!") else speak(text, call)
    if call.step >= len(step.replies):
        return None
    return speak(_expand(step.replies[call.step], step, call), replace(call, results=(), step=0))


def _expand(reply: str, step: Step, call: Call) -> str:
    r"""Put what the step's expression caught in the places of \1, \2 ... of `reply`."""
    match = step.match.search(call.prompt) if step.match else None
    if match is None:
        return reply
    groups = ("", *(group or "" for group in match.groups()))
    return re.sub(r"\\([1-9])", lambda place: groups[int(place[1])] if int(place[1]) < len(groups) else "", reply)


def _step(item: Any, where: str) -> Step:
    if not isinstance(item, dict) or "reply" not in item:
        raise ScenarioError(f"{where}: a step is a mapping with a reply")
    if unknown := item.keys() - {"match", "reply", "times"}:
        raise ScenarioError(f"{where}: unknown: {', '.join(sorted(map(str, unknown)))} (known: match, reply, times)")
    replies = item["reply"] if isinstance(item["reply"], list) else [item["reply"]]
    times = item.get("times", None if "match" in item else 1)
    if not replies or not all(isinstance(reply, str) for reply in replies):
        raise ScenarioError(f"{where}: reply is a text or a list of texts")
    if times is not None and (not isinstance(times, int) or times < 1):
        raise ScenarioError(f"{where}: times is a whole number from 1")
    try:
        match = re.compile(str(item["match"]), re.IGNORECASE) if "match" in item else None
    except re.error as error:
        raise ScenarioError(f"{where}: match is no regular expression: {error}") from error
    return Step(tuple(replies), match, times)
