"""The input field: nothing that is typed is ever lost, whatever the network does."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NewContext, Stage

pytestmark = pytest.mark.browser

LIMIT = 32_000


@pytest.fixture
def field(page: Page, stage: Stage) -> Locator:
    play = stage.session()
    page.goto(f"/chat/{play.id}")
    expect(page.get_by_role("status")).to_contain_text("Connected")
    return page.get_by_role("textbox", name="Message")


def sent(page: Page) -> list[str]:
    return page.locator(".bubble").all_text_contents()


def test_quick_messages_arrive_whole_and_what_is_typed_after_them_stays(page: Page, field: Locator) -> None:
    for number in range(5):
        page.keyboard.type(f"hello {number}")
        page.keyboard.press("Enter")
    page.keyboard.type("the tail")
    expect(page.locator(".bubble")).to_have_count(5)
    assert sent(page) == [f"hello {number}" for number in range(5)]
    expect(field).to_have_value("the tail")
    expect(field).to_be_focused()


def test_shift_enter_begins_a_line_and_blank_text_is_not_sent(page: Page, field: Locator) -> None:
    field.press("Enter")
    field.type("  ")
    field.press("Enter")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    field.fill("")
    field.type("one")
    field.press("Shift+Enter")
    field.type("two")
    field.press("Enter")
    expect(page.locator(".bubble")).to_have_text("one\ntwo")


def test_enter_that_ends_a_composition_sends_nothing(page: Page, field: Locator) -> None:
    field.fill("にほん")
    field.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    field.dispatch_event("keydown", {"key": "Enter", "keyCode": 229, "bubbles": True})
    expect(field).to_have_value("にほん")
    field.press("Enter")
    expect(page.locator(".bubble")).to_have_text("にほん")


def test_a_draft_survives_reload_and_belongs_to_its_session(page: Page, field: Locator, stage: Stage) -> None:
    here, other = page.url, stage.session()
    field.fill("half a thought")
    page.reload()
    expect(field).to_have_value("half a thought")
    page.goto(f"/chat/{other.id}")
    expect(field).to_have_value("")
    page.goto(here)
    expect(field).to_have_value("half a thought")


def test_a_text_over_the_limit_is_counted_and_kept_back(page: Page, field: Locator) -> None:
    field.fill("é" * (LIMIT + 5))
    expect(page.get_by_text("32,005 / 32,000")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    field.press("Enter")
    assert sent(page) == []
    field.fill("😀" * LIMIT)  # counted as the server counts: characters, not UTF-16 units
    expect(page.get_by_text("32,000 / 32,000")).to_be_visible()
    field.press("Enter")
    expect(page.locator(".bubble")).to_have_count(1)
    assert len(sent(page)[0]) == LIMIT


def test_half_an_emoji_that_is_typed_is_sent_like_any_text(page: Page, field: Locator) -> None:
    field.evaluate("(e) => { e.value = 'half \\ud83d'; e.dispatchEvent(new Event('input')); }")
    field.press("Enter")
    expect(page.locator(".bubble")).to_have_text("half \N{REPLACEMENT CHARACTER}")
    field.fill("and on")
    field.press("Enter")
    expect(page.locator(".bubble")).to_have_count(2)


def test_while_a_reply_streams_messages_wait_and_can_be_taken_back(page: Page, field: Locator, stage: Stage) -> None:
    play = stage.session("First")
    page.goto(f"/chat/{play.id}")
    log = page.get_by_role("log")
    for text in ("second", "third", "fourth"):
        field.fill(text)
        field.press("Enter")
        expect(log.get_by_text(text)).to_be_visible()
    expect(log.get_by_text("Queued")).to_have_count(3)
    log.get_by_role("article").filter(has_text="third").get_by_role("button", name="Withdraw").click()
    expect(log.get_by_text("third")).to_have_count(0)
    field.fill("new words")
    log.get_by_role("article").filter(has_text="fourth").get_by_role("button", name="Edit").click()
    expect(field).to_have_value("fourth\n\nnew words")
    play.finish()
    expect(log.get_by_text("Queued")).to_have_count(0)
    assert play.look()["sent"] == ["First", "second"]
    assert [message["text"] for message in play.look()["messages"] if message["role"] == "user"] == ["First", "second"]


def test_on_a_touch_screen_enter_is_a_new_line(new_context: NewContext, stage: Stage) -> None:
    play = stage.session()
    page = new_context(width=360, height=740, has_touch=True, is_mobile=True).new_page()
    page.goto(f"/chat/{play.id}")
    field = page.get_by_role("textbox", name="Message")
    field.tap()
    page.keyboard.type("one")
    page.keyboard.press("Enter")
    page.keyboard.type("two")
    expect(field).to_have_value("one\ntwo")
    page.get_by_role("button", name="Send").tap()
    expect(page.locator(".bubble")).to_have_text("one\ntwo")
