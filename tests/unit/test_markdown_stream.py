import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_pattern.sessions import markdown
from claude_pattern.sessions.markdown import MarkdownStream, to_html

PIECES = st.sampled_from(
    [
        *(
            "word ",
            "two words",
            "*a*",
            "**b**",
            "`c`",
            "~~d~~",
            "\n",
            "\n\n",
            "\r\n",
            "\r",
            "\n\n\n",
            " ",
            "    ",
            "\t",
        ),
        *(
            "# head\n",
            "head\n---\n",
            "---\n",
            "- item\n",
            "- [ ] to do\n",
            "- [x] done\n",
            "  - deeper\n",
            "1. one\n",
            "1) ",
        ),
        *(
            "> quote\n",
            ">",
            "```\n",
            "```python\n",
            "~~~~\n",
            "x = 1\n",
            "| a | b |\n",
            "|---|---|\n",
            "| 1 | 2 |\n",
            "|",
        ),
        *(
            "[text][ref]",
            "[ref]: https://example.org\n",
            '[ref]: /a "title\n',
            "[ref]",
            'more"\n',
            "[ref]: https://later.example\n",
        ),
        *(
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<b>",
            "&lt;",
            "</code></pre>",
            "<https://a.example>",
        ),
        *(
            "[x](javascript:alert(1))",
            "<javascript:alert(1)>",
            "[x](java\nscript:1)",
            "[x](data:text/html,1)",
            "[x](//evil.example)",
        ),
        *("![i](https://evil.example/?q=1)", "[![i](https://a.example/i.png)](https://b.example)", '![" onload="x](x)'),
        *(
            "https://plain.example/a?b=c&d",
            "main.py",
            "a@b.example",
            "mailto:a@b.example",
            "\0",
            "\u2028",
            '"',
            "'",
            "\\",
            "é🎉",
        ),
    ]
)
DOCUMENTS = st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=80)
LIBERAL = {
    "div",
    "span",
    "button",
    "pre",
    "code",
    "p",
    "a",
    "em",
    "strong",
    "s",
    "br",
    "hr",
    "blockquote",
    "ul",
    "ol",
    "li",
}
TAGS = LIBERAL | {"h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "input"}
ATTRIBUTES = {"class", "href", "target", "rel", "title", "start", "style", "type", "disabled", "checked", "aria-label"}


class Audit(HTMLParser):
    """Collects what a browser would see in a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[str]:
        return [str(attributes["href"]) for _, attributes in self.tags if "href" in attributes]


def stream(text: str, sizes: list[int]) -> MarkdownStream:
    """Append `text` in pieces of the given sizes, rendering after each."""
    growing, position = MarkdownStream(), 0
    for size in sizes:
        growing.append(text[position : position + size])
        growing.render()
        position += size
    growing.append(text[position:])
    return growing


def html(growing: MarkdownStream) -> str:
    blocks, tail = growing.render()
    return "".join(blocks) + tail


@given(DOCUMENTS, st.lists(st.integers(1, 30), max_size=40))
@example('[text][ref]\n\n[ref]: /a "title\nmore"\n', [15, 10, 4])
@example("word\n```\nword ", [1] * 20)
@example("- a\n\n- b\n\npara\r\n\r\n```\nx\n```\n", [1] * 30)
def test_any_chunking_ends_with_the_html_of_the_whole_text(text: str, sizes: list[int]) -> None:
    growing = stream(text, sizes)
    growing.close()
    assert html(growing) == to_html(text)
    assert growing.text == text
    assert growing.render()[1] == ""


@given(DOCUMENTS, st.lists(st.integers(1, 30), max_size=40))
def test_nothing_but_harmless_markup_comes_out_at_any_moment(text: str, sizes: list[int]) -> None:
    growing, position = MarkdownStream(), 0
    for size in [*sizes, len(text)]:
        growing.append(text[position : position + size])
        position += size
        audit = Audit(html(growing))
        assert {tag for tag, _ in audit.tags} <= TAGS
        assert {name for _, attributes in audit.tags for name in attributes} <= ATTRIBUTES
        assert all(re.match(r"https?://|mailto:", link) for link in audit.links())
        styles = [attributes["style"] for _, attributes in audit.tags if "style" in attributes]
        assert all(re.fullmatch(r"text-align:(left|right|center)", style or "") for style in styles)


@given(DOCUMENTS, st.lists(st.integers(1, 30), max_size=40))
def test_finished_blocks_never_change_unless_the_revision_says_so(text: str, sizes: list[int]) -> None:
    growing, position = MarkdownStream(), 0
    seen: list[str] = []
    for size in sizes:
        growing.append(text[position : position + size])
        position += size
        blocks, _ = growing.render()
        assert list(blocks[: len(seen)]) == seen
        seen = list(blocks)
    assert growing.revision == 0


def test_a_link_defined_at_the_end_reaches_the_blocks_before_it() -> None:
    growing = stream("See [the text][ref].\n\nMore.\n\n[ref]: https://late.example\n", [5] * 20)
    growing.close()
    assert 'href="https://late.example"' in html(growing)
    assert growing.revision == 1


def test_raw_html_stays_text() -> None:
    text = "<script>alert(1)</script> <img src=x onerror=alert(1)> <b>bold</b>"
    audit = Audit(to_html(text))
    assert [tag for tag, _ in audit.tags] == ["p"]
    assert audit.text.strip() == text


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", "//evil.example", "src/a.py", "file:///etc", "#a", ""],
)
def test_a_link_that_is_not_web_or_mail_keeps_only_its_label(address: str) -> None:
    audit = Audit(to_html(f"[label]({address})"))
    assert (audit.links(), audit.text.strip()) == ([], "label")


def test_an_image_is_a_link_that_names_it_and_is_never_loaded() -> None:
    audit = Audit(to_html("![a plot](https://evil.example/track?c=1)"))
    assert [tag for tag, _ in audit.tags] == ["p", "a"]
    assert audit.tags[1][1]["rel"] == "noopener noreferrer"
    assert audit.tags[1][1]["target"] == "_blank"
    assert audit.text.strip() == "a plot"


def test_an_image_inside_a_link_leaves_one_link() -> None:
    audit = Audit(to_html("[![badge](https://a.example/i.png)](https://b.example)"))
    assert (audit.links(), audit.text.strip()) == (["https://b.example"], "badge")


def test_file_names_are_no_links_but_full_addresses_are() -> None:
    audit = Audit(to_html("main.py, README.md, run.sh, a@b.example and https://example.org/x"))
    assert audit.links() == ["https://example.org/x"]


def test_a_finished_code_block_has_colours_a_language_and_a_copy_button() -> None:
    result = to_html("```python\ndef f(): return '<b>'\n```\n")
    assert '<span class="k">def</span>' in result
    assert "<span>python</span>" in result
    assert 'aria-label="Copy code"' in result
    assert Audit(result).text.endswith("def f(): return '<b>'\n\n")


def test_code_of_an_unknown_language_or_of_great_length_stays_plain() -> None:
    assert '<span class="' not in to_html("```klingon\ndef f(): pass\n```\n")
    assert '<span class="' not in to_html("```python\n" + "x = 1\n" * markdown.HIGHLIGHT_CHARS + "```\n")


def test_an_open_code_block_is_a_code_block_at_once_and_coloured_once_it_ends() -> None:
    growing = MarkdownStream()
    growing.append("Look:\n\n```python\ndef f():\n")
    blocks, tail = growing.render()
    assert len(blocks) == 1
    assert "<pre><code>def f():\n</code></pre>" in tail
    growing.append("    pass\n```\n")
    blocks, tail = growing.render()
    assert '<span class="k">def</span>' in blocks[-1]
    assert tail == ""


def test_task_items_become_boxes() -> None:
    boxes = [attributes for tag, attributes in Audit(to_html("- [ ] one\n- [x] two\n- three\n")).tags if tag == "input"]
    assert [box["aria-label"] for box in boxes] == ["To do", "Done"]
    assert all("disabled" in box for box in boxes)


def test_tables_and_strikethrough_are_understood() -> None:
    tags = [tag for tag, _ in Audit(to_html("| a |\n|---|\n| ~~b~~ |\n")).tags]
    assert {"table", "th", "td", "s"} <= set(tags)


def test_readers_share_one_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def count(source: str, env: dict[str, object]) -> str:
        nonlocal calls
        calls += 1
        return source

    monkeypatch.setattr(markdown, "_html", count)
    growing = MarkdownStream()
    growing.append("some text")
    growing.render()
    once = calls
    for _ in range(10):
        growing.render()
    assert calls == once > 0


@pytest.mark.no_cover  # six times as slow with it
@pytest.mark.parametrize(
    ("start", "piece", "deltas"),
    [
        ("", "word and *more*\n\n", 20_000),
        ("```\n", "x = 1\n", 20_000),
        ("", "- an item\n", 2_000),
        ("| a | b |\n|---|---|\n", "| a | b |\n", 2_000),
    ],
)
def test_many_deltas_cost_their_length_not_its_square(
    start: str, piece: str, deltas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = 0

    def count_in(function: Callable[..., Any]) -> Callable[..., Any]:
        def counting(source: str, *rest: Any) -> Any:
            nonlocal parsed
            parsed += len(source)
            return function(source, *rest)

        return counting

    monkeypatch.setattr(markdown, "_border", count_in(markdown._border))
    monkeypatch.setattr(markdown, "_html", count_in(markdown._html))
    growing = MarkdownStream()
    growing.append(start)
    for number in range(deltas):
        growing.append(piece)
        if number % 20 == 0:
            growing.render()
    growing.close()
    growing.render()
    assert parsed < 70 * len(growing.text)
