"""Sessions that have ended: they stay readable, are listed, and come back."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NewContext, Play, Stage

pytestmark = pytest.mark.browser


@pytest.fixture
def ended(stage: Stage) -> Play:
    """An ended session with one question and its answer."""
    play = stage.session("What is in the folder?")
    play.say("Three *files*.")
    play.finish()
    play.end()
    return play


def open_session(page: Page, play: Play) -> Locator:
    page.goto(f"/chat/{play.id}")
    expect(page.get_by_role("status")).to_contain_text("Connected")
    return page.get_by_role("log", name="Conversation")


def message(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message")


def row(page: Page, group: str) -> Locator:
    return page.get_by_role("list", name=group).get_by_role("link")


def test_an_ended_session_shows_its_conversation_and_comes_back_in_every_tab(
    new_context: NewContext, ended: Play
) -> None:
    mine, other = new_context().new_page(), new_context().new_page()
    logs = [open_session(mine, ended), open_session(other, ended)]
    for log in logs:
        expect(log).to_contain_text("What is in the folder?")
        expect(log.locator("em")).to_have_text("files")
        expect(log).to_contain_text("Session ended.")
    expect(mine.get_by_role("status")).to_contain_text("Ended")
    logs[0].get_by_role("button", name="Resume").click()
    for page, log in zip((mine, other), logs, strict=True):
        expect(log.get_by_role("button", name="Resume")).to_have_count(0)
        expect(page.get_by_role("status")).not_to_contain_text("Ended")
        expect(row(page, "Sessions")).to_contain_text("What is in the folder?")
        expect(row(page, "Ended")).to_have_count(0)
    assert ended.look()["sent"] == []


def test_a_message_brings_an_ended_session_back(page: Page, ended: Play) -> None:
    log = open_session(page, ended)
    expect(message(page)).to_have_attribute("placeholder", "Message the agent to continue")
    message(page).fill("And in the other one?")
    message(page).press("Enter")
    expect(log).to_contain_text("And in the other one?")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    assert ended.look()["sent"] == ["And in the other one?"]
    ended.say("Nothing.")
    ended.finish()
    expect(log.get_by_role("article").last).to_contain_text("Nothing.")
    expect(log.get_by_role("button", name="Resume")).to_have_count(0)


def test_without_room_an_ended_session_stays_and_so_does_the_text(page: Page, ended: Play, stage: Stage) -> None:
    for _ in range(5):
        stage.session()
    log = open_session(page, ended)
    log.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("alert")).to_contain_text("Server at capacity. Max sessions: 5")
    message(page).fill("Do not lose me")
    message(page).press("Enter")
    expect(message(page)).to_have_value("Do not lose me")
    expect(log.get_by_role("button", name="Resume")).to_be_visible()


def test_a_session_that_ended_for_good_is_read_only(page: Page, stage: Stage) -> None:
    play = stage.session("The last words")
    play.end_for_good()
    log = open_session(page, play)
    expect(log).to_contain_text("The last words")
    expect(log.get_by_role("button", name="Start new session")).to_be_visible()
    expect(page.get_by_text("This session has ended and cannot be resumed.")).to_be_visible()
    expect(message(page)).to_be_hidden()
    page.goto(f"/chat?resume={play.id}")
    expect(page.get_by_role("heading", name="Session not found or not resumable")).to_be_visible()


def test_the_way_back_resumes_and_leads_to_the_session(page: Page, ended: Play) -> None:
    page.goto("/")
    page.goto(f"/chat?resume={ended.id}")
    page.wait_for_url(f"**/chat/{ended.id}")
    expect(page.get_by_role("log")).to_contain_text("What is in the folder?")
    expect(row(page, "Sessions")).to_have_attribute("aria-current", "page")
    assert ended.look()["sent"] == []
    page.go_back()
    expect(page.get_by_role("heading", name="What shall we work on?")).to_be_visible()


def test_the_way_back_leads_through_the_sign_in(new_context: NewContext, ended: Play, stage: Stage) -> None:
    page = new_context(signed_in=False).new_page()
    page.goto(f"/chat?resume={ended.id}")
    page.get_by_label("API key").fill("stage-key")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{stage.url}/chat/{ended.id}")
    expect(page.get_by_role("log")).to_contain_text("What is in the folder?")


@pytest.mark.parametrize("unknown", ["00000000-0000-4000-8000-000000000000", "../x", "%00%ff"])
def test_the_way_back_to_nowhere_says_so_and_offers_a_new_session(unknown: str, page: Page, stage: Stage) -> None:
    page.goto(f"/chat?resume={unknown}")
    expect(page.get_by_role("heading", name="Session not found or not resumable")).to_be_visible()
    page.get_by_role("main").get_by_role("button", name="New session").click()
    page.wait_for_url("**/chat/*")
    expect(page.get_by_role("heading", name="What shall we work on?")).to_be_visible()


def test_the_way_back_without_room_leads_to_the_conversation_and_says_why(
    page: Page, ended: Play, stage: Stage
) -> None:
    for _ in range(5):
        stage.session()
    page.goto(f"/chat?resume={ended.id}")
    page.wait_for_url(f"**/chat/{ended.id}")
    expect(page.get_by_role("alert")).to_contain_text("Server at capacity")
    expect(page.get_by_role("log").get_by_role("button", name="Resume")).to_be_visible()


def test_an_address_without_a_session_is_the_first_page(page: Page, stage: Stage) -> None:
    page.goto("/chat")
    expect(page.get_by_role("heading", name="What shall we work on?")).to_be_visible()


def test_while_a_session_restarts_the_page_says_so_and_messages_wait(page: Page, stage: Stage) -> None:
    play = stage.session("Work")
    log = open_session(page, play)
    play.say("Half an ans")
    play.die()
    expect(log).to_contain_text("is being restarted. Conversation preserved.")
    expect(page.get_by_role("status")).to_contain_text("Restarting...")
    expect(row(page, "Sessions")).to_contain_text("Restarting...")
    expect(log.get_by_role("button", name="Retry")).to_be_hidden()
    message(page).fill("Go on")
    message(page).press("Enter")
    expect(log.get_by_text("Queued")).to_be_visible()
    stage.call("starts")
    expect(log.get_by_text("Queued")).to_have_count(0)
    expect(page.get_by_role("status")).not_to_contain_text("Restarting...")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    assert play.look()["sent"] == ["Go on"]


def test_after_a_restart_the_message_can_be_sent_again(page: Page, stage: Stage) -> None:
    play = stage.session("Work")
    log = open_session(page, play)
    play.die()
    expect(log).to_contain_text("is being restarted. Conversation preserved.")
    stage.call("starts")
    log.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(log.get_by_role("button", name="Retry")).to_be_hidden()
    assert play.look()["sent"] == ["Work"]


# ---------------------------------------------------------------- the list


def test_the_list_follows_sessions_that_end_and_come_back(page: Page, stage: Stage) -> None:
    first, second = stage.session("Alpha task"), stage.session("Beta task")
    page.goto("/")
    expect(row(page, "Sessions")).to_have_count(2)
    expect(page.get_by_role("heading", name="Ended")).to_be_hidden()
    first.end()
    expect(row(page, "Ended")).to_contain_text("Alpha task")
    expect(row(page, "Sessions")).to_have_count(1)
    second.end()
    expect(row(page, "Ended")).to_have_count(2)
    page.get_by_role("button", name="Actions for Alpha task").click()
    page.get_by_role("button", name="Resume").click()
    page.wait_for_url(f"**/chat/{first.id}")
    expect(row(page, "Sessions")).to_contain_text("Alpha task")
    expect(row(page, "Ended")).to_contain_text("Beta task")
    row(page, "Ended").click()
    page.wait_for_url(f"**/chat/{second.id}")
    expect(page.get_by_role("log")).to_contain_text("Session ended.")
    expect(row(page, "Ended")).to_have_attribute("aria-current", "page")


def test_the_search_covers_live_and_ended_sessions(page: Page, stage: Stage) -> None:
    for title in ("Alpha live", "Beta live"):
        stage.session(title)
    for title in ("Alpha ended", "Beta ended"):
        stage.session(title).end()
    page.goto("/")
    search = page.get_by_role("searchbox", name="Search sessions")
    expect(row(page, "Ended")).to_have_count(2)
    search.fill("ALPHA")
    expect(row(page, "Sessions")).to_have_text([re.compile("Alpha live")])
    expect(row(page, "Ended")).to_have_text([re.compile("Alpha ended")])
    search.fill("beta e")
    expect(row(page, "Sessions")).to_have_count(0)
    expect(row(page, "Ended")).to_have_text([re.compile("Beta ended")])
    search.fill("gamma")
    expect(page.get_by_text("No session has this title")).to_be_visible()
    expect(page.get_by_role("heading", name="Ended")).to_be_hidden()


@pytest.mark.parametrize("live", [True, False])
def test_a_session_is_renamed_in_every_tab(live: bool, new_context: NewContext, stage: Stage) -> None:
    play = stage.session("Old title")
    if not live:
        play.end()
    mine, other = new_context().new_page(), new_context().new_page()
    mine.goto("/")
    open_session(other, play)
    mine.get_by_role("button", name="Actions for Old title").click()
    mine.get_by_role("button", name="Rename").click()
    field = mine.get_by_role("dialog").get_by_role("textbox", name="Title")
    expect(field).to_have_value("Old title")
    expect(field).to_be_focused()
    mine.keyboard.type("New <b>title</b>")  # in place of the old one, which is selected
    mine.keyboard.press("Enter")
    expect(mine.get_by_role("dialog")).to_have_count(0)
    for page in (mine, other):
        expect(row(page, "Sessions" if live else "Ended")).to_contain_text("New <b>title</b>")
        expect(page.get_by_role("button", name="Actions for New <b>title</b>")).to_have_count(1)
    expect(other.get_by_role("heading", level=1)).to_have_text("New <b>title</b>")
    expect(other).to_have_title(re.compile("New <b>title</b>"))


def test_a_title_that_is_refused_stays_in_the_dialog(page: Page, stage: Stage) -> None:
    stage.session("Keep me")
    page.goto("/")
    page.get_by_role("button", name="Actions for Keep me").click()
    page.get_by_role("button", name="Rename").click()
    field = page.get_by_role("dialog").get_by_role("textbox", name="Title")
    field.fill("x" * 250)
    expect(field).to_have_value("x" * 200)
    field.fill("   ")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(field).to_have_value("   ")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(row(page, "Sessions")).to_contain_text("Keep me")
