"""The YAML head of a Markdown file, between two lines of `---`.

Only plain keys with texts and lists of texts are taken out, from YAML's own node tree, without building objects and
without aliases: a small file cannot grow large ("billion laughs"), nor make anything run.
"""

import re
from dataclasses import dataclass, field
from typing import Final

import yaml

from claude_pattern.extensions.files import Refused

MAX_CHARACTERS: Final = 16 * 1024
"""The YAML parser is slow; no honest head comes near this."""

MAX_BRACKETS: Final = 200
"""The parser's time grows with the square of their depth: 1,000 open ones cost it 0.6 s (measured)."""

_FENCE = "---"
# Claude Code's own documentation writes argument-hint: [a] [b], which is no YAML; it is always meant as text.
_HINT = re.compile(r"^(argument-hint:[ \t]+)([^\s\"'|>].*)$", re.MULTILINE)
_DESCRIPTION = re.compile(r"^(description:[ \t]+)([^\s\"'|>\[{&*!%@`#].*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Document:
    """A Markdown file with its head taken off."""

    fields: dict[str, str | list[str] | None] = field(default_factory=dict)
    """None stands for a value that is neither a text nor a list of texts."""
    lines: dict[str, int] = field(default_factory=dict)
    """Where each field stands in the file, counted from 1."""
    body: str = ""
    has_head: bool = False
    warnings: tuple[tuple[str, int], ...] = ()
    """What is wrong but harmless, with its line."""

    def text(self, name: str) -> str:
        """The field `name` as a stripped text; empty when it is missing.

        Raises:
            Refused: it is a list or a mapping.
        """
        value = self.fields.get(name, "")
        if isinstance(value, str):
            return value.strip()
        raise Refused(f"has a {name} that is not a text. Write it on one line, in quotes.", self.lines[name])


def parse(text: str) -> Document:
    """Take the head off `text`.

    Raises:
        Refused: the head is not closed, too long, or not valid YAML.
    """
    lines = text.split("\n")
    if lines[0].rstrip() != _FENCE:
        return Document(body=text)
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise Refused("has a frontmatter that is never closed. Put a line of --- below it.", 1)
    head = "\n".join(lines[1:end])
    if len(head) > MAX_CHARACTERS:
        raise Refused(f"has a frontmatter of more than {MAX_CHARACTERS // 1024} KiB. Shorten it.", 1)
    if head.count("[") + head.count("{") > MAX_BRACKETS:
        raise Refused(f"has a frontmatter with more than {MAX_BRACKETS} brackets. Make it simpler.", 1)
    body = "\n".join(lines[end + 1 :])
    return _document(_HINT.sub(_quoted, head), body)


def _document(head: str, body: str) -> Document:
    warnings: list[tuple[str, int]] = []
    try:
        node = _compose(head)
    except Refused:
        # The CLI takes "description: Use when: asked", which is no YAML, as it is meant.
        repaired = _DESCRIPTION.sub(_quoted, head)
        if repaired == head:
            raise
        node = _compose(repaired)
        line = head.count("\n", 0, head.index("description:")) + 2
        warnings.append(("has a description that is not valid YAML, since it holds a colon. Put it in quotes.", line))
    if node is None:
        return Document(body=body, has_head=True)
    if not isinstance(node, yaml.MappingNode):
        raise Refused("has a frontmatter without keys. Write lines such as description: What it does.", 2)
    fields: dict[str, str | list[str] | None] = {}
    lines: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value) if isinstance(key, yaml.ScalarNode) else "", key.start_mark.line + 2
        if name in fields:
            warnings.append((f"has {name!r} twice in its frontmatter; the last one counts. Remove the other.", line))
        fields[name], lines[name] = _plain(value), line
    return Document(fields, lines, body, True, tuple(warnings))


def _plain(node: yaml.Node) -> str | list[str] | None:
    if isinstance(node, yaml.ScalarNode):
        return "" if node.tag == "tag:yaml.org,2002:null" else str(node.value)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return [str(item.value) for item in node.value]
    return None


def _quoted(match: re.Match[str]) -> str:
    escaped = match[2].rstrip().replace("'", "''")
    return f"{match[1]}'{escaped}'"


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not accepted", problem_mark=mark)
        return super().compose_node(parent, index)


def _compose(head: str) -> yaml.Node | None:
    try:
        loader = _Loader(head)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 2
        raise Refused(
            f"has a frontmatter that is not valid YAML: {error.problem}. Correct it here or just above.", line
        ) from None
    except yaml.YAMLError:
        raise Refused("has a character in its frontmatter that YAML does not accept. Remove it.", 2) from None
    except RecursionError:
        raise Refused("has a frontmatter that is nested too deeply. Make it flat.", 2) from None
