"""`mcp.json`: the MCP servers, each entry checked by itself.

The CLI dies on a malformed file and drops a bad entry without a word (both measured), so it gets neither. Variables are
expanded here, as the CLI would, but one that is not set is reported instead of passed on as text.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from claude_pattern.extensions import entries
from claude_pattern.extensions.config import Problem, Server
from claude_pattern.extensions.entries import EntryRefused
from claude_pattern.extensions.files import MAX_ENTRIES, MAX_JSON_BYTES, ProjectFiles, Refused, shown

FILE: Final = "mcp.json"

_SERVERS = "mcpServers"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# The CLI keeps these for itself and drops an operator's server of that name without a word (measured).
_RESERVED = frozenset(
    {
        "claude-code-remote",
        "claude-device",
        "claude-in-chrome",
        "claude_ai",
        "computer-use",
        "constructor",
        "prototype",
        "workspace",
    }
)
_TOKEN = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?|[{}\[\]\n]', re.DOTALL)
_MAX_BRACKETS = 50_000  # the most that 500 servers can need, by far; parsing more of them stalls the whole process
_DEPTH = 4  # mcpServers, name, field, variable or header

Lines = Mapping[tuple[str, ...], list[int]]
"""For each path of keys the lines, counted from 1, on which its last key stands; two lines for a key written twice."""


def servers(files: ProjectFiles, environ: Mapping[str, str]) -> Iterator[Server | Problem]:
    """Every server of `mcp.json`, with variables taken from `environ`; raises OutOfTime."""
    try:
        if not files.exists(FILE):
            return
        # A mounted secret is a link out of the folder; of a file that is no mcp.json nothing is ever shown.
        text = files.text(FILE, MAX_JSON_BYTES, anywhere=True)
        named = _parse(text)
    except Refused as refused:
        yield Problem(FILE, refused.what, refused.line)
        return
    lines = _key_lines(text)
    yield from _oddities(lines)
    if len(named) > MAX_ENTRIES:
        yield Problem(FILE, f"has more than {MAX_ENTRIES} servers; the others were left out. Remove some.")
    for name, entry in list(named.items())[:MAX_ENTRIES]:
        files.check_time()
        yield from _server(name, entry, environ, lines)


def _parse(text: str) -> dict[str, Any]:
    """The entries by name."""
    if text.count("[") + text.count("{") > _MAX_BRACKETS:
        raise Refused("has far too many lists and objects for a list of servers. Shorten it.")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        why = f"{error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}"
        raise Refused(f"is not valid JSON, so no MCP server is used: {why}. Correct it.", error.lineno) from None
    except (RecursionError, ValueError):
        raise Refused("is nested too deeply or holds a number that is too long. Correct it.") from None
    if not isinstance(document, dict) or _SERVERS not in document:
        hint = 'begins with {"mcpServers": {"name": {"command": ...}}}'
        raise Refused(f"has no {_SERVERS}, so no MCP server is used. A good file {hint}.", 1)
    named = document[_SERVERS]
    if not isinstance(named, dict):
        raise Refused(f"has {_SERVERS} that is not an object with one entry for each name. Correct it.", 1)
    return named


def _oddities(lines: Lines) -> Iterator[Problem]:
    """Unknown fields of the file itself, and everything that is written twice."""
    for path, places in lines.items():
        if len(path) == 1 and path[0] != _SERVERS:
            what = f"has the unknown field {shown(path[0])!r}, which is ignored. Remove it."
            yield Problem(FILE, what, places[-1], "warning")
        above = (path[:length] for length in range(1, len(path)))
        if len(places) > 1 and not any(len(lines[key]) > 1 for key in above):
            what = f"has {shown('.'.join(path))!r} twice, first in line {places[0]}; the last one counts. Remove one."
            yield Problem(FILE, what, places[-1], "warning")


def _server(name: str, entry: Any, environ: Mapping[str, str], lines: Lines) -> Iterator[Server | Problem]:
    try:
        _check_name(name)
        server, ignored = entries.read(name, entry, environ)
    except EntryRefused as refused:
        for path, what in refused.faults:
            sentence = f"server {shown(name)!r} was left out: {what}."
            yield Problem(FILE, sentence, _line(lines, (_SERVERS, name, *path)))
        return
    for field in ignored:
        what = f"server {name!r} has the unknown field {shown(field)!r}, which is ignored. Remove it."
        yield Problem(FILE, what, _line(lines, (_SERVERS, name, field)), "warning")
    yield server


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise EntryRefused(((), "use 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-' for its name"))
    if name in _RESERVED:
        raise EntryRefused(((), "Claude Code keeps this name for itself. Rename it"))


def _line(lines: Lines, path: tuple[str, ...]) -> int | None:
    """The line of the key at `path`, or of the nearest one above it."""
    while path and path not in lines:
        path = path[:-1]
    return lines[path][-1] if path else None


def _key_lines(text: str) -> Lines:
    """Where the keys of `text`, which is valid JSON, stand."""
    lines = defaultdict[tuple[str, ...], list[int]](list)
    keys: list[str] = []  # of each object that is open here; an array counts as one with the key ""
    line = 1
    for token in _TOKEN.finditer(text):
        match token[0][0]:
            case "{" | "[":
                keys.append("")
            case "}" | "]":
                keys.pop()
            case '"' if token[2] is not None:
                keys[-1] = json.loads(token[1])
                if len(keys) <= _DEPTH and "" not in keys:
                    lines[tuple(keys)].append(line)
        line += token[0].count("\n")
    return dict(lines)
