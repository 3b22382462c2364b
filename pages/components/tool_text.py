"""What a tool call says to people: one line made for that tool, its input and its output. Pure functions."""

import difflib
import json
import re
from typing import Any, NamedTuple

from claude_pattern.sessions.markdown import printable

from .. import texts

LINE_CHARS = 160
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")

_FILES = {"Read": "file", "Write": "file-plus", "Edit": "pencil", "MultiEdit": "pencil", "NotebookEdit": "pencil"}
_FIELDS = {
    "Bash": ("terminal", "command"),
    "BashOutput": ("terminal", "bash_id"),
    "KillShell": ("terminal", "shell_id"),
    "Glob": ("search", "pattern"),
    "Grep": ("search", "pattern"),
    "WebFetch": ("globe", "url"),
    "WebSearch": ("globe", "query"),
    "Task": ("agent", "description"),
    "Agent": ("agent", "description"),
    "Skill": ("spark", "skill"),
    "ToolSearch": ("search", "query"),
    "AskUserQuestion": ("question", ""),
    "EnterPlanMode": ("list", ""),
    "ExitPlanMode": ("list", ""),
    "TodoWrite": ("list", ""),
}


class Detail(NamedTuple):
    """A piece of code and its language."""

    code: str
    language: str


def icon(tool: str) -> str:
    """The picture of a tool."""
    if tool.startswith("mcp__"):
        return "plug"
    return _FILES.get(tool) or _FIELDS.get(tool, ("wrench",))[0]


def name(tool: str) -> str:
    """The name that people read: `mcp__files__read` is `files: read`."""
    server, separator, function = tool.removeprefix("mcp__").partition("__")
    return f"{server}: {function}" if tool.startswith("mcp__") and separator else tool


def summary(tool: str, given: dict[str, Any]) -> str:
    """What the call does, in one line."""
    if tool in _FILES:
        text = str(given.get("file_path") or given.get("notebook_path") or "")
    elif tool == "TodoWrite":
        text = _progress(given.get("todos"))
    elif tool in _FIELDS:
        text = str(given.get(_FIELDS[tool][1]) or "")
    else:
        text = next((value for value in given.values() if isinstance(value, str)), "")
    lines = printable(text).strip().splitlines() or [""]
    line = lines[0] if len(lines) == 1 else f"{lines[0]} …"
    return line if len(line) <= LINE_CHARS else line[: LINE_CHARS - 1] + "…"


def _progress(todos: Any) -> str:
    items = [todo for todo in todos if isinstance(todo, dict)] if isinstance(todos, list) else []
    return texts.tasks(sum(todo.get("status") == "completed" for todo in items), len(items))


def details(tool: str, given: dict[str, Any]) -> Detail:
    """Exactly what the call does: the command, the diff, the file, else the input as JSON."""
    if tool == "Bash" and isinstance(given.get("command"), str):
        return Detail(given["command"], "bash")
    if tool == "Write" and isinstance(given.get("content"), str):
        return Detail(given["content"], str(given.get("file_path", "")).rpartition(".")[2])
    edits = given.get("edits") if tool == "MultiEdit" else [given]
    if tool in ("Edit", "MultiEdit") and isinstance(edits, list):
        return Detail("\n@@\n".join(_diff(edit) for edit in edits if isinstance(edit, dict)), "diff")
    return Detail(json.dumps(given, indent=2, ensure_ascii=False, default=str), "json")


def _diff(edit: dict[str, Any]) -> str:
    before, after = str(edit.get("old_string", "")), str(edit.get("new_string", ""))
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=3, lineterm=""))
    return "\n".join("@@" if line.startswith("@@") else line for line in lines[3:])


def output(result: Any) -> str:
    """The text of a tool's result, whatever its form, without the colours of a terminal."""
    if result is None:
        return ""
    if isinstance(result, list):
        text = "\n".join(_block(block) for block in result)
    elif isinstance(result, dict) and set(result) == {"error"}:
        text = str(result["error"])
    else:
        text = result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False, default=str)
    return _ESCAPES.sub("", printable(text)).strip("\n")


def _block(block: Any) -> str:
    if isinstance(block, dict) and isinstance(block.get("text"), str):
        return str(block["text"])
    if isinstance(block, dict) and block.get("type") in ("image", "document"):
        return f"[{block['type']}]"
    return block if isinstance(block, str) else json.dumps(block, ensure_ascii=False, default=str)
