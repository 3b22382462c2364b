"""Markdown that grows: finished blocks are rendered once and never again, only the tail is.

The one way from a model's text to HTML. Raw HTML in the text stays text, links lead to http, https and mailto alone,
images are shown as links and never loaded. The result is plain markup with classes; colours come from the stylesheet.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from itertools import pairwise
from time import perf_counter
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

HIGHLIGHT_CHARS = 20_000
"""A longer code block stays without colours: 20 kB take 24 ms of the event loop."""

TAIL_CHARS = 12_000
"""A longer tail, a huge list or table, is parsed only each time it has grown by a tenth: the cost stays linear."""

RENDER_SHARE = 0.1
"""Of the time of one core, at most, goes into one text."""

TAIL_CHARS_PER_S = 200_000
"""Readers are sent the whole tail each time; a long one less often."""

_SAFE_LINK = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
_FENCE = re.compile(r"(`{3,}(?=[^`\n]*\n)|~{3,})([^\n]*)\n")
_TASK = re.compile(r"\[([ xX])\]\s")
_LINE_END = re.compile(r"\r\n?")


def to_html(text: str) -> str:
    """The HTML of a whole Markdown text."""
    return _html(printable(text), {})


def code_to_html(code: str, language: str = "") -> str:
    """The HTML of a piece of code, with a copy button."""
    code = printable(code)
    return _code_html(language, code, _lexer(language) if len(code) <= HIGHLIGHT_CHARS else None)


def printable(text: str) -> str:
    """`text` without lone halves of surrogate pairs, which a tool's output may hold and no encoder takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class MarkdownStream:
    """A Markdown text that is appended to while it is shown.

    `append` only keeps the text; `render` brings the HTML up to date for however many readers there are. The end
    result is the same as that of `to_html` for the whole text.
    """

    def __init__(self) -> None:
        self._chunks: list[str] = []
        self._pending: list[str] = []
        self._blocks: list[str] = []
        self._tail = ""
        self._draft = ""
        self._parsed = 0
        self._env: dict[str, Any] = {}
        self._current = True
        self._closed = False
        self.revision = 0
        """Grows when blocks that had been handed out have changed: their readers start afresh."""
        self._render_seconds = 0.0

    @property
    def text(self) -> str:
        """The whole text so far, exactly as it came."""
        if len(self._chunks) > 1:
            self._chunks = ["".join(self._chunks)]
        return self._chunks[0] if self._chunks else ""

    @property
    def closed(self) -> bool:
        """Whether the text is complete."""
        return self._closed

    def append(self, text: str) -> None:
        """Add `text` at the end; nothing is rendered yet."""
        self._chunks.append(text)
        self._pending.append(text)
        self._current = False

    def close(self) -> None:
        """The text is complete."""
        if not self._closed:
            self._closed = True
            self._current = False

    def render(self) -> tuple[Sequence[str], str]:
        """The HTML of the blocks that will not change any more, and that of the tail, which will."""
        if not self._current:
            begin = perf_counter()
            self._update()
            self._current = True
            self._render_seconds = perf_counter() - begin
        return self._blocks, self._tail

    @property
    def pause(self) -> float:
        """Seconds that readers should let pass before they render again: long when rendering or the tail is long."""
        return max(self._render_seconds / RENDER_SHARE, len(self._tail) / TAIL_CHARS_PER_S)

    def _update(self) -> None:
        source = "".join(self._pending)
        # The other half of a line end may still be under way.
        held = "\r" if source.endswith("\r") and not self._closed else ""
        source = printable(_LINE_END.sub("\n", source.removesuffix(held)))
        if not self._closed:
            self._tail, source = self._grow(source)
        else:
            self._freeze(source)
            self._tail, source = "", ""
        self._pending = [source, held]

    def _grow(self, source: str) -> tuple[str, str]:
        """Freeze what is finished of `source`; the HTML of the rest, and the rest."""
        if (code := _open_code_block(source)) is not None:
            return code, source
        if TAIL_CHARS < len(source) < self._parsed * 1.1:
            return f'{self._draft}<div class="raw">{escape(source[self._parsed :])}</div>', source
        border = _border(source)
        self._freeze(source[:border])
        source = source[border:]
        known = dict(self._env.get("references", {}))
        self._draft = _html(source, {"references": known, "draft": True})
        self._parsed = len(source)
        return self._draft, source

    def _freeze(self, source: str) -> None:
        known = len(self._env.get("references", {}))
        html = _html(source, self._env)
        if self._blocks and len(self._env.get("references", {})) > known:
            self._env["late"] = True
        if html:
            self._blocks.append(html)
        if self._closed and self._env.get("late"):
            # A link that earlier blocks use was defined after them.
            self._blocks = [to_html(self.text)]
            self.revision += 1


def _border(source: str) -> int:
    """Where the last block of `source` begins, which more text may still change; all before it is final."""
    line = source.rfind("\n") + 1
    # What an unfinished line will be is known only if it begins with a letter: text of a paragraph or a table.
    complete = source if source[line : line + 1].isalpha() else source[:line]
    blocks = [token for token in _outline.parse(complete) if token.level == 0 and token.map]
    if not blocks:
        return 0
    lines = complete.split("\n")
    border, end = _lines(blocks[-1])
    before = _lines(blocks[-2])[1] if len(blocks) > 1 else 0
    if _is_closed_fence(blocks[-1]):
        border = end
    elif any(line.strip() for line in lines[before:border]):
        border = before  # link definitions, which the lines after them may still belong to
    return sum(len(line) + 1 for line in lines[:border])


def _is_closed_fence(block: Token) -> bool:
    first, end = _lines(block)
    return (
        block.type == "fence"
        and (not block.content or block.content.endswith("\n"))
        and end - first == block.content.count("\n") + 2
    )


def _lines(block: Token) -> tuple[int, int]:
    first, end = block.map or (0, 0)
    return first, end


def _open_code_block(source: str) -> str | None:
    """The HTML of a code block that has begun and not ended; long ones grow too often to be parsed each time."""
    fence = _FENCE.match(source)
    if fence is None or re.compile(rf"^ {{0,3}}{fence[1]}{fence[1][0]}*[ \t]*$", re.MULTILINE).search(
        source, fence.end()
    ):
        return None
    return _code_html(fence[2], source[fence.end() :], None)


def _html(source: str, env: EnvType) -> str:
    return str(_markdown.render(source, env))


# ---------------------------------------------------------------- what the parser's output is turned into


def _polish(state: StateCore) -> None:
    """Keep only safe links, turn images into links, and `[ ]` at the start of a list item into a box."""
    for token in state.tokens:
        if token.type == "inline" and token.children:
            token.children = _safe(token.children)
    for item, (paragraph, text) in zip(state.tokens, pairwise(state.tokens[1:]), strict=False):
        if item.type == "list_item_open" and paragraph.type == "paragraph_open" and text.type == "inline":
            _mark_task(item, text.children or [])


def _safe(tokens: list[Token]) -> list[Token]:
    kept: list[Token] = []
    link: Token | None = None
    for token in tokens:
        if token.type == "link_open":
            link = token
            kept += [_outward(token)] if _is_safe(token.attrGet("href")) else []
        elif token.type == "link_close":
            kept += [token] if link is not None and _is_safe(link.attrGet("href")) else []
            link = None
        elif token.type == "image":
            kept += _image_link(token, inside_link=link is not None)
        else:
            kept.append(token)
    return kept


def _is_safe(address: str | int | float | None) -> bool:
    return isinstance(address, str) and _SAFE_LINK.match(address) is not None


def _outward(link: Token) -> Token:
    link.attrSet("target", "_blank")
    link.attrSet("rel", "noopener noreferrer")
    return link


def _image_link(image: Token, *, inside_link: bool) -> list[Token]:
    address = image.attrGet("src")
    text = Token("text", "", 0, content=image.content or str(address))
    if inside_link or not _is_safe(address):
        return [text]
    link = Token("link_open", "a", 1, attrs={"href": str(address), "class": "image-link"})
    return [_outward(link), text, Token("link_close", "a", -1)]


def _mark_task(item: Token, children: list[Token]) -> None:
    if children and children[0].type == "text" and (task := _TASK.match(children[0].content)):
        children[0].content = children[0].content[task.end() :]
        children.insert(0, Token("task", "", 0, content=task[1]))
        item.attrSet("class", "task")


def _task_box(_: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType) -> str:
    done = tokens[index].content != " "
    state = 'checked aria-label="Done"' if done else 'aria-label="To do"'
    return f'<input type="checkbox" disabled {state}> '


def _code_block(_: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, env: EnvType) -> str:
    code, info = tokens[index].content, tokens[index].info
    plain = env.get("draft") or len(code) > HIGHLIGHT_CHARS
    return _code_html(info, code, None if plain else _lexer(info.partition(" ")[0]))


def _code_html(info: str, code: str, lexer: Lexer | None) -> str:
    language = info.strip().partition(" ")[0]
    body = highlight(code, lexer, _formatter) if lexer else escape(code)
    return (
        f'<div class="code"><div class="code-head"><span>{escape(language)}</span>'
        f'<button type="button" class="copy" aria-label="Copy code">Copy</button></div>'
        f"<pre><code>{body}</code></pre></div>\n"
    )


@lru_cache(maxsize=200)
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


def _table_open(*_: object) -> str:
    return '<div class="table-box"><table>\n'


def _table_close(*_: object) -> str:
    return "</table></div>\n"


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": True})
    parser.enable(["table", "strikethrough", "linkify"])
    # Without a scheme `main.py` and `README.md` would be links to Paraguay and Moldova.
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # type: ignore[union-attr]
    parser.validateLink = lambda url: True  # type: ignore[method-assign]  # _safe judges, and keeps the label
    parser.core.ruler.push("polish", _polish)
    for rule, render in {"task": _task_box, "fence": _code_block, "code_block": _code_block}.items():
        parser.add_render_rule(rule, render)
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    return parser


_formatter: HtmlFormatter[str] = HtmlFormatter(nowrap=True)
_markdown = _parser()
_outline = MarkdownIt("commonmark", {"html": False}).enable("table").disable("inline")
