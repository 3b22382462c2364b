"""How the pages fit: narrow windows, both themes, keyboard and screen reader."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext, Play, Stage

pytestmark = pytest.mark.browser

OUTSIDE = """() => [...document.querySelectorAll("#app *")].filter((element) => {
  const box = element.getBoundingClientRect();
  const scrolls = (e) => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) ? e : scrolls(e.parentElement));
  const hidden = !element.checkVisibility({ visibilityProperty: true }) || box.width < 2 || box.height < 2;
  return !hidden && (box.right > innerWidth + 1 || box.left < -1) && !scrolls(element.parentElement);
}).map((element) => element.outerHTML.slice(0, 100))"""
WIDE = "x" * 300
CONTRAST = """(element) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (...colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const grounds = [];
  for (let e = element; e; e = e.parentElement) grounds.unshift(getComputedStyle(e).backgroundColor);
  const [a, b] = [paint(...grounds), paint(...grounds, getComputedStyle(element).color)].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


@pytest.fixture
def busy(stage: Stage) -> Play:
    """A session that has a bit of everything in it."""
    play = stage.session(f"A long word: {WIDE}")
    play.emit({"type": "thinking_delta", "delta": "Hm."})
    play.say(f"# Heading\n\n`{WIDE}` {WIDE}\n\n| {' | '.join('abcdefghij')} |\n|{'---|' * 10}\n\n```\n{WIDE}\n```\n", 1)
    play.tool("Bash", {"command": f"echo {WIDE}"})
    play.tool_ends({"error": f"No such file: {WIDE}"}, status="error")
    play.say("> A quote\n\n1. One\n2. [Two](https://example.org)", 2)
    play.send("A queued message")
    play.ask("Bash", {"command": f"rm -r {WIDE}"})
    options = [{"label": WIDE, "description": "Wide"}]
    play.ask("AskUserQuestion", {"questions": [{"question": WIDE, "header": "Header", "options": options}]})
    return play


def show(page: Page, play: Play) -> None:
    page.goto(f"/chat/{play.id}")
    expect(page.get_by_role("button", name="Skip")).to_be_visible()


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_sticks_out_of_a_narrow_window(width: int, new_context: NewContext, busy: Play) -> None:
    page = new_context(width=width, height=740).new_page()
    for address in ("/", "/chat/unknown"):
        page.goto(address)
        expect(page.get_by_text("Connected")).to_be_visible()
        assert page.evaluate(OUTSIDE) == []
    show(page, busy)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_welcome_is_read_from_its_top(new_context: NewContext, stage: Stage) -> None:
    play = stage.session()
    page = new_context(width=360, height=420).new_page()
    for address in ("/", f"/chat/{play.id}"):
        page.goto(address)
        expect(page.get_by_role("heading", name="What shall we work on?")).to_be_in_viewport(ratio=1)
        expect(page.get_by_role("button", name="bash")).not_to_be_in_viewport()
    play.send("Hello")
    play.say("\n\n".join(f"Paragraph {n}" for n in range(30)))
    expect(page.get_by_text("Paragraph 29")).to_be_in_viewport()


def test_a_narrow_window_has_the_sessions_in_a_drawer(new_context: NewContext, stage: Stage) -> None:
    first, second = stage.session("First"), stage.session("Second")
    page = new_context(width=360, height=740).new_page()
    page.goto(f"/chat/{first.id}")
    row = page.get_by_role("link", name="Second")
    expect(page.get_by_text("Connected")).to_be_visible()
    expect(row).not_to_be_in_viewport()
    page.get_by_role("button", name="Open the session list").click()
    expect(row).to_be_in_viewport()
    row.click()
    expect(page).to_have_url(re.compile(second.id))
    expect(row).not_to_be_in_viewport()
    page.get_by_role("button", name="Open the session list").click()
    page.get_by_role("button", name="New session").click()
    expect(page).not_to_have_url(re.compile(second.id))
    expect(row).not_to_be_in_viewport()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable(scheme: str, new_context: NewContext, busy: Play) -> None:
    page = new_context(color_scheme=scheme).new_page()
    show(page, busy)
    for summary in page.locator("summary").all():
        summary.click()
    pale = []
    for element in page.locator("body :is(p, span, a, button, h1, h2, h3, h4, li, td, th, pre, legend):visible").all():
        if element.inner_text().strip() and (contrast := element.evaluate(CONTRAST)) < 4.5:
            pale.append((round(contrast, 2), element.evaluate("(e) => e.outerHTML.slice(0, 80)")))
    assert pale == []


def test_the_theme_is_chosen_and_remembered(new_context: NewContext, stage: Stage) -> None:
    page = new_context(color_scheme="light").new_page()
    page.goto("/")
    ground = page.locator("body")
    expect(ground).to_have_css("background-color", "rgb(255, 255, 255)")
    page.get_by_role("radio", name="Dark").check()
    expect(ground).to_have_css("background-color", "rgb(25, 25, 24)")
    page.reload()
    expect(ground).to_have_css("background-color", "rgb(25, 25, 24)")
    expect(page.get_by_role("radio", name="Dark")).to_be_checked()
    page.get_by_role("radio", name="System").check()
    expect(ground).to_have_css("background-color", "rgb(255, 255, 255)")
    page.emulate_media(color_scheme="dark")
    expect(ground).to_have_css("background-color", "rgb(25, 25, 24)")


def test_every_control_has_a_name_and_the_landmarks_are_there(page: Page, busy: Play) -> None:
    show(page, busy)
    tree = page.locator("body").aria_snapshot()
    roles = "button|link|textbox|searchbox|radio|checkbox|group|list|log|dialog"
    nameless = re.findall(rf"^ *- (?:{roles})(?: \[[^]]*\])*:?$", tree, re.MULTILINE)
    # Lists inside the text and folded parts have no name of their own.
    assert [line for line in nameless if "list" not in line and "group" not in line] == []
    for role, name in (("log", "Conversation"), ("list", "Sessions"), ("textbox", "Message")):
        expect(page.get_by_role(role, name=name)).to_have_count(1)  # type: ignore[arg-type]
    for landmark in ("main", "complementary", "status"):
        expect(page.get_by_role(landmark)).to_have_count(1)


def test_everything_is_reached_by_keyboard(page: Page, stage: Stage) -> None:
    play = stage.session("Keys")
    page.goto(f"/chat/{play.id}")
    play.tool("Bash", {"command": "ls"})
    play.ask("Bash", {"command": "make"})
    expect(page.get_by_role("button", name="Allow once")).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    visited = []
    for _ in range(30):
        page.keyboard.press("Tab")
        visited.append(page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText"))
    for name in ("New session", "Search sessions", "Sign out", "Conversation", "Allow once", "Deny", "Message", "Stop"):
        assert name in visited
    ring = page.get_by_role("button", name="Allow once")
    ring.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    expect(ring).to_have_css("outline-style", "solid")


def test_touch_targets_are_large_enough(new_context: NewContext, busy: Play) -> None:
    page = new_context(width=360, height=740, has_touch=True, is_mobile=True).new_page()
    show(page, busy)
    small = [
        (box, button.evaluate("(e) => e.outerHTML.slice(0, 80)"))
        for button in page.locator("button:visible").all()
        if (box := button.bounding_box()) and min(box["width"], box["height"]) < 40
    ]
    assert small == []
    sizes = page.evaluate("[...document.querySelectorAll('input, textarea')].map((e) => getComputedStyle(e).fontSize)")
    assert set(sizes) == {"16px"}  # smaller ones make a phone zoom in


def test_less_motion_is_honoured(new_context: NewContext, stage: Stage) -> None:
    play = stage.session("Still")
    page = new_context(reduced_motion="reduce").new_page()
    page.goto(f"/chat/{play.id}")
    animation = "getComputedStyle(document.querySelector('.streaming > .parts'), '::after').animationName"
    expect(page.get_by_text("Connected")).to_be_visible()
    assert page.evaluate(animation) == "none"
