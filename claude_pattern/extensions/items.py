"""Skills and commands, one file each, linted more strictly than the CLI does.

Both readers yield what they find as they go: a good item, or a problem. So a reading that runs out of time keeps what
it has.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Final

from claude_pattern.extensions import frontmatter
from claude_pattern.extensions.config import Command, Problem, Skill
from claude_pattern.extensions.files import MAX_ENTRIES, MAX_MARKDOWN_BYTES, ProjectFiles, Refused, shown
from claude_pattern.extensions.frontmatter import Document

MAX_DESCRIPTION: Final = 1024
"""Characters; the Agent Skills format allows no more."""

_MAX_DEPTH = 6  # folders below commands/
_SKILL_NAME = re.compile(r"[a-z0-9-]{1,64}")
_COMMAND_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
# An item of such a name hides the CLI's own command (measured), and this product relies on these.
_RESERVED = frozenset({"clear", "compact", "context"})


def skills(files: ProjectFiles) -> Iterator[Skill | Problem]:
    """Every skill below `skills/`; raises OutOfTime."""
    try:
        names = files.names("skills") if files.kind("skills") != "nothing" else []
    except Refused as refused:
        yield Problem("skills", refused.what)
        return
    if len(names) > MAX_ENTRIES:
        yield _too_many("skills")
    for name in names[:MAX_ENTRIES]:
        yield from _skill(files, name)


def commands(files: ProjectFiles, skill_names: frozenset[str]) -> Iterator[Command | Problem]:
    """Every command below `commands/`; the CLI hides one with the name of a skill. Raises OutOfTime."""
    for found in _markdown(files):
        if isinstance(found, Problem):
            yield found
        else:
            yield from _command(files, found, skill_names)


def _skill(files: ProjectFiles, name: str) -> Iterator[Skill | Problem]:
    place = f"skills/{name}"
    try:
        _check_skill_folder(files, place, name)
        place = f"{place}/SKILL.md"
        document, digest = _read(files, place)
        description = _check_skill(document, name)
    except Refused as refused:
        yield Problem(shown(place), refused.what, refused.line)
        return
    yield from _warnings(place, document)
    yield Skill(name, place, description, digest)


def _check_skill_folder(files: ProjectFiles, folder: str, name: str) -> None:
    if files.kind(folder) != "folder":
        raise Refused("is not a folder. A skill is a folder with a file SKILL.md in it: make one, or move this away.")
    if not _SKILL_NAME.fullmatch(name):
        raise Refused("is no name for a skill. Rename it, using 1 to 64 of the characters a-z, 0-9 and '-'.")
    if name in _RESERVED:
        raise Refused(f"would hide Claude Code's own command /{name}. Rename the skill.")
    if not files.exists(f"{folder}/SKILL.md"):
        raise Refused("has no file SKILL.md (spelled exactly so), so there is no skill in it. Add it or remove this.")


def _check_skill(document: Document, folder: str) -> str:
    if not document.has_head:
        raise Refused("has no frontmatter. Begin the file with lines of ---, name: …, description: … and ---.", 1)
    name = document.text("name")
    if not name:
        raise Refused(f"has no name in its frontmatter. Add the line 'name: {folder}'.", 1)
    if name != folder:
        wrong = shown(name)
        raise Refused(f"is named {wrong!r} but lies in {folder!r}. Make both equal.", document.lines["name"])
    description = document.text("description")
    if not description:
        raise Refused("has no description, by which the model decides when to use it. Add one.", 1)
    _check_tools(document)
    return description[:MAX_DESCRIPTION]


def _command(files: ProjectFiles, path: str, skill_names: frozenset[str]) -> Iterator[Command | Problem]:
    parts = path.removeprefix("commands/").removesuffix(".md").split("/")
    name = ":".join(parts)
    try:
        _check_command_name(parts)
        if name in skill_names:
            raise Refused(f"is hidden by the skill {name!r}, which has the same name. Rename one of them.")
        document, digest = _read(files, path)
        command = _checked_command(document, name, path, digest)
    except Refused as refused:
        yield Problem(shown(path), refused.what, refused.line)
        return
    yield from _warnings(path, document)
    yield command


def _check_command_name(parts: list[str]) -> None:
    if parts[-1].lower() == "skill":
        raise Refused("is the file of a skill, not of a command. Move its folder to skills/.")
    for part in parts:
        if not _COMMAND_NAME.fullmatch(part):
            raise Refused(f"has {shown(part)!r} in its name. Rename it, using A-Z, a-z, 0-9, '_', '-' and '.' only.")
    if len(parts) == 1 and parts[0] in _RESERVED:
        raise Refused(f"would hide Claude Code's own command /{parts[0]}. Rename the file.")


def _checked_command(document: Document, name: str, path: str, digest: str) -> Command:
    if not document.body.strip():
        raise Refused("has no text below its frontmatter, so the command would say nothing. Write what to do.")
    hint = document.text("argument-hint")
    document.text("model")
    _check_tools(document)
    first_line = document.body.strip().splitlines()[0].lstrip("# ")
    description = document.text("description") or first_line
    return Command(name, path, description[:MAX_DESCRIPTION], hint, digest)


def _check_tools(document: Document) -> None:
    if document.fields.get("allowed-tools", "") is None:
        line = document.lines["allowed-tools"]
        raise Refused("has allowed-tools that are neither a text nor a list of texts. Correct them.", line)


def _markdown(files: ProjectFiles) -> Iterator[str | Problem]:
    """The paths of all Markdown files below `commands/`."""
    pending, visited, left = ["commands"], set[str](), MAX_ENTRIES
    while pending:
        folder = pending.pop()
        try:
            names = _command_folder(files, folder, visited)
        except Refused as refused:
            yield Problem(shown(folder), refused.what)
            continue
        for name in names[:left]:
            path = f"{folder}/{name}"
            if files.is_folder(path):
                pending.append(path)
            elif name.endswith(".md"):
                yield path
        if len(names) > left:
            yield _too_many("commands")
            return
        left -= len(names)


def _command_folder(files: ProjectFiles, folder: str, visited: set[str]) -> list[str]:
    if folder == "commands" and files.kind(folder) == "nothing":
        return []
    if folder.count("/") > _MAX_DEPTH:
        raise Refused(f"lies more than {_MAX_DEPTH} folders deep, so it was not read. Move it up.")
    identity = files.identity(folder)
    if identity in visited:
        raise Refused("is a link to a folder that was read already. Remove it.")
    visited.add(identity)
    return files.names(folder)


def _read(files: ProjectFiles, path: str) -> tuple[Document, str]:
    text = files.text(path, MAX_MARKDOWN_BYTES)
    return frontmatter.parse(text), hashlib.sha256(text.encode()).hexdigest()


def _warnings(path: str, document: Document) -> Iterator[Problem]:
    for what, line in document.warnings:
        yield Problem(path, what, line, "warning")


def _too_many(folder: str) -> Problem:
    return Problem(folder, f"has more than {MAX_ENTRIES} entries; the others were left out. Remove some.")
