"""Signing in and out, as a browser without JavaScript sees it."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext, Stage
from tests.browser.stage import KEY

pytestmark = pytest.mark.browser


@pytest.fixture
def stranger(new_context: NewContext) -> Page:
    return new_context(signed_in=False, java_script_enabled=False).new_page()


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_page_leads_to_the_sign_in_and_back(stranger: Page, stage: Stage) -> None:
    play = stage.session("Hello")
    stranger.goto(f"/chat/{play.id}")
    assert "/login?next=" in stranger.url
    expect(stranger.get_by_label("API key")).to_have_attribute("type", "password")
    sign_in(stranger, KEY)
    assert stranger.url == f"{stage.url}/chat/{play.id}"


def test_a_wrong_key_says_so_and_opens_nothing(stranger: Page) -> None:
    stranger.goto("/login?next=/chat/x")
    with stranger.expect_response("**/login") as reply:
        sign_in(stranger, "<b>wrong</b>")
    assert reply.value.status == 401
    expect(stranger.get_by_role("alert")).to_have_text("Invalid API key")
    assert stranger.context.cookies() == []
    sign_in(stranger, KEY)
    assert "/chat/x" in stranger.url


def test_a_one_time_link_signs_in_once(stranger: Page, stage: Stage, new_context: NewContext) -> None:
    code = stage.call("login_code")
    stranger.goto(f"/login?code={code}")
    assert stranger.url == f"{stage.url}/"
    second = new_context(signed_in=False, java_script_enabled=False).new_page()
    second.goto(f"/login?code={code}")
    expect(second.get_by_role("alert")).to_contain_text("has been used already")


@pytest.mark.parametrize(
    "address", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/login"]
)
def test_only_pages_of_this_server_follow_a_sign_in(address: str, stranger: Page, stage: Stage) -> None:
    stranger.goto(f"{stage.url}/login")
    stranger.goto(f"/login?code={stage.call('login_code')}&next={address}")
    assert stranger.url == f"{stage.url}/"


def test_the_cookie_is_not_for_scripts(stranger: Page) -> None:
    stranger.goto("/login")
    sign_in(stranger, KEY)
    cookie = next(cookie for cookie in stranger.context.cookies() if cookie["name"] == "claude_pattern_session")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert KEY not in cookie["value"]


def test_signing_out_ends_the_other_tabs_too(new_context: NewContext, stage: Stage) -> None:
    context = new_context()
    first, second = context.new_page(), context.new_page()
    first.goto("/")
    second.goto("/")
    expect(second.get_by_role("status")).to_contain_text("Connected")
    first.get_by_role("button", name="Sign out").click()
    expect(first.get_by_label("API key")).to_be_visible()
    expect(second.get_by_label("API key")).to_be_visible(timeout=15_000)
