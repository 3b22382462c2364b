"""The workspace in a real browser: what people see and do in their sessions."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NewContext, Play, Stage

pytestmark = pytest.mark.browser

BASH = {"command": "ls -la", "description": "Look around"}


def open_session(page: Page, play: Play) -> Locator:
    page.goto(f"/chat/{play.id}")
    expect(page.get_by_role("status")).to_contain_text("Connected")
    return page.get_by_role("log", name="Conversation")


def message(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message")


# ---------------------------------------------------------------- sessions


def test_a_new_session_is_opened_listed_and_named_after_its_first_message(page: Page, stage: Stage) -> None:
    page.goto("/")
    page.get_by_role("button", name="New session").click()
    page.wait_for_url("**/chat/*")
    message(page).fill("Count the files")
    message(page).press("Enter")
    expect(page.get_by_role("heading", name="Count the files")).to_be_visible()
    expect(page.get_by_role("list", name="Sessions").get_by_role("link")).to_contain_text("Count the files")
    expect(page).to_have_title(re.compile("Count the files"))


def test_a_message_on_the_first_page_opens_a_session_and_leaves_no_draft(page: Page) -> None:
    page.goto("/")
    message(page).fill("Start here")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/chat/*")
    expect(page.get_by_role("log")).to_contain_text("Start here")
    page.goto("/")
    expect(message(page)).to_have_value("")


def test_a_prompt_of_the_welcome_is_sent_by_a_click(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="bash").click()
    page.wait_for_url("**/chat/*")
    expect(page.get_by_role("log")).to_contain_text("bash")


def test_without_room_for_a_session_the_sentence_says_so_and_the_text_stays(page: Page, stage: Stage) -> None:
    for _ in range(5):
        stage.session()
    page.goto("/")
    page.get_by_role("button", name="New session").click()
    expect(page.get_by_role("alert")).to_contain_text("Server at capacity. Max sessions: 5")
    message(page).fill("Do not lose me")
    message(page).press("Enter")
    expect(message(page)).to_have_value("Do not lose me")


def test_sessions_are_switched_without_a_reload_and_searched_by_title(page: Page, stage: Stage) -> None:
    first, second = stage.session("Alpha task"), stage.session("Beta task")
    log = open_session(page, first)
    page.evaluate("window.stillHere = true")
    rows = page.get_by_role("list", name="Sessions")
    rows.get_by_role("link", name="Beta task").click()
    expect(page).to_have_url(re.compile(second.id))
    expect(log).to_contain_text("Beta task")
    expect(log).not_to_contain_text("Alpha task")
    assert page.evaluate("window.stillHere")
    assert (first.look()["listeners"], second.look()["listeners"]) == (1, 2)  # the manager's, and this tab's
    page.get_by_role("searchbox", name="Search sessions").fill("alp")
    expect(rows.get_by_role("link")).to_have_count(1)
    expect(rows).to_contain_text("Alpha task")


def test_what_needs_an_answer_comes_first_in_the_list(page: Page, stage: Stage) -> None:
    waiting, _ = stage.session("Waits"), stage.session("Is newer")
    page.goto("/")
    links = page.get_by_role("list", name="Sessions").get_by_role("link")
    expect(links.first).to_contain_text("Is newer")
    waiting.ask("Bash", BASH)
    expect(links.first).to_contain_text("Waits")
    expect(links.first).to_contain_text("Needs you")


def test_ending_a_session_asks_first_and_shows_it_in_every_tab(new_context: NewContext, stage: Stage) -> None:
    play = stage.session("Short life")
    mine, other = new_context().new_page(), new_context().new_page()
    open_session(mine, play)
    log = open_session(other, play)
    mine.get_by_role("button", name="Actions for Short life").click()
    mine.get_by_role("button", name="End session").click()
    mine.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(mine.get_by_role("link", name="Short life")).to_be_visible()
    mine.get_by_role("button", name="Actions for Short life").click()
    mine.get_by_role("button", name="End session").click()
    mine.get_by_role("dialog").get_by_role("button", name="End session").click()
    for page in (mine, other):
        expect(page.get_by_role("list", name="Sessions").get_by_role("link")).to_have_count(0)
        expect(page.get_by_role("list", name="Ended").get_by_role("link")).to_contain_text("Short life")
    expect(log).to_contain_text("Session ended.")
    other.reload()
    expect(log).to_contain_text("Session ended.")
    expect(log.get_by_role("button", name="Resume")).to_be_visible()


def test_the_id_of_a_session_is_copied(new_context: NewContext, stage: Stage) -> None:
    play = stage.session("Copy me")
    page = new_context(permissions=["clipboard-read", "clipboard-write"]).new_page()
    open_session(page, play)
    page.get_by_role("button", name="Actions for Copy me").click()
    page.get_by_role("button", name="Copy session ID").click()
    assert page.evaluate("navigator.clipboard.readText()") == play.id


# ---------------------------------------------------------------- the conversation


def test_tabs_show_the_same_and_a_reload_in_the_middle_of_the_stream_shows_everything(
    new_context: NewContext, stage: Stage
) -> None:
    play = stage.session("Explain")
    first, second = new_context().new_page(), new_context().new_page()
    logs = [open_session(first, play), open_session(second, play)]
    play.say("# Title\n\nSome **bold** text and `co")
    expect(logs[0].get_by_role("heading", name="Title")).to_be_visible()
    second.reload()
    play.say("de` here.\n\n```python\nprint(1)\n```\n\nThe end.")
    for log in logs:
        expect(log.locator("code").first).to_have_text("code")
        expect(log).to_contain_text("The end.")
    play.finish()
    for log in logs:
        expect(log.get_by_role("button", name="Copy message")).to_be_visible()
    assert logs[0].inner_text() == logs[1].inner_text()
    third = open_session(new_context().new_page(), play)
    assert third.inner_text() == logs[0].inner_text()


def test_a_tool_card_follows_its_call(page: Page, stage: Stage) -> None:
    play = stage.session("Look")
    log = open_session(page, play)
    play.tool("Bash", BASH)
    card = log.get_by_role("group", name="Tool: Bash")
    expect(card.get_by_text("Executing...", exact=True)).to_be_visible()
    expect(card.get_by_text("ls -la").first).to_be_visible()
    play.tool_ends("total 0\n\x1b[31mred.txt\x1b[0m")
    expect(card.get_by_text("Complete (1.2s)", exact=True)).to_be_visible()
    expect(card.locator("pre").last).to_be_hidden()
    card.locator("summary").click()
    expect(card.locator("pre").last).to_have_text("total 0\nred.txt")


def test_a_tool_that_needs_permission_says_so_until_it_has_it(page: Page, stage: Stage) -> None:
    play = stage.session("Look")
    log = open_session(page, play)
    card = log.get_by_role("group", name="Tool: Bash")
    play.tool("Bash", BASH)
    expect(card).to_contain_text("Executing...")
    play.ask("Bash", BASH)
    expect(card).to_contain_text("Waiting for permission")
    expect(card).not_to_contain_text("Executing...")
    page.reload()
    expect(card).to_contain_text("Waiting for permission")
    page.get_by_role("button", name="Allow once").click()
    expect(card).to_contain_text("Executing...")
    play.tool_ends("done")
    expect(card).to_contain_text("Complete (1.2s)")


def test_a_failed_tool_shows_its_reason_in_red(page: Page, stage: Stage) -> None:
    play = stage.session("Read")
    log = open_session(page, play)
    play.tool("Read", {"file_path": "/work/missing.txt"})
    play.tool_ends({"error": "File does not exist."}, status="error")
    card = log.get_by_role("group", name="Tool: Read")
    expect(card).to_contain_text("File does not exist.")
    expect(card.get_by_text("Error", exact=True)).to_have_css("color", "rgb(179, 38, 30)")


def test_a_long_output_is_shortened_until_all_of_it_is_wanted(page: Page, stage: Stage) -> None:
    play = stage.session("Long output")
    log = open_session(page, play)
    play.tool("Bash", BASH)
    play.tool_ends("x" * 9_000 + "the end")
    card = log.get_by_role("group", name="Tool: Bash")
    card.locator("summary").click()
    expect(card.locator("pre").last).not_to_contain_text("the end")
    card.get_by_role("button", name="Show all").click()
    expect(card.locator("pre").last).to_contain_text("the end")


def test_stop_keeps_what_was_said(page: Page, stage: Stage) -> None:
    play = stage.session("Go on")
    log = open_session(page, play)
    play.say("Half an ans")
    page.get_by_role("button", name="Stop").click()
    expect(log).to_contain_text("[Response interrupted]")
    expect(log).to_contain_text("Half an ans")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_ctrl_shift_x_stops_with_the_cursor_in_the_input(page: Page, stage: Stage) -> None:
    play = stage.session("Go on")
    log = open_session(page, play)
    message(page).fill("my next thought")
    message(page).press("Control+Shift+X")
    expect(log).to_contain_text("[Response interrupted]")
    expect(message(page)).to_have_value("my next thought")


def test_retry_sends_the_message_again_and_is_offered_once(page: Page, stage: Stage) -> None:
    play = stage.session("Try")
    log = open_session(page, play)
    play.fail(529)
    expect(log.get_by_role("alert")).to_contain_text("still overloaded")
    log.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(log.get_by_role("button", name="Retry")).to_have_count(0)
    assert play.look()["sent"] == ["Try", "Try"]


def test_a_reader_who_scrolled_up_stays_there_and_jumps_back(page: Page, stage: Stage) -> None:
    play = stage.session("Long")
    log = open_session(page, play)
    play.say("\n\n".join(f"Paragraph {n}" for n in range(80)))
    expect(log.get_by_text("Paragraph 79")).to_be_in_viewport()
    jump = page.get_by_role("button", name="Jump to latest")
    expect(jump).to_be_hidden()
    log.evaluate("(log) => log.scrollTo({ top: -900 })")
    expect(jump).to_be_visible()
    seen = log.get_by_text("Paragraph 50", exact=True)
    before = seen.evaluate("(line) => line.getBoundingClientRect().top")
    play.say("\n\n" + "\n\n".join(f"Later {n}" for n in range(20)))
    expect(log).to_contain_text("Later 19")
    assert abs(seen.evaluate("(line) => line.getBoundingClientRect().top") - before) < 2
    jump.click()
    expect(log.get_by_text("Later 19")).to_be_in_viewport()
    expect(jump).to_be_hidden()


def test_a_long_conversation_opens_at_its_end_and_shows_older_parts_on_demand(page: Page, stage: Stage) -> None:
    play = stage.session("Message 0")
    for number in range(1, 35):
        play.finish()
        play.send(f"Message {number}")
    log = open_session(page, play)
    expect(log.get_by_text("Message 34", exact=True)).to_be_in_viewport()
    expect(log.get_by_role("article")).to_have_count(30)
    log.get_by_role("button", name="Show older messages").click()
    expect(log.get_by_role("article")).to_have_count(60)
    log.get_by_role("button", name="Show older messages").click()
    expect(log.get_by_role("article")).to_have_count(70)
    expect(log.get_by_role("article").first).to_have_text("Message 0")
    expect(log.get_by_role("button", name="Show older messages")).to_be_hidden()


def test_code_is_copied(new_context: NewContext, stage: Stage) -> None:
    play = stage.session("Code")
    page = new_context(permissions=["clipboard-read", "clipboard-write"]).new_page()
    log = open_session(page, play)
    play.say("```python\nif a < b:\n    print('é')\n```\n")
    log.get_by_role("button", name="Copy code").click()
    expect(log.get_by_role("button", name="Copy code")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "if a < b:\n    print('é')\n"
    play.finish()
    log.get_by_role("button", name="Copy message").click()
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.startsWith('```python'))")


def test_code_is_copied_where_the_clipboard_is_closed_to_scripts(page: Page, stage: Stage) -> None:
    play = stage.session("Code")
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")  # as on plain http
    log = open_session(page, play)
    play.say("```\nthe code\n```\n")
    log.get_by_role("button", name="Copy code").click()
    expect(log.get_by_role("button", name="Copy code")).to_have_text("Copied")
    message(page).press("Control+V")
    expect(message(page)).to_have_value("the code\n")


def test_an_unknown_address_says_so_and_leads_back(page: Page, stage: Stage) -> None:
    answer = page.goto("/no/such/page")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    page.get_by_role("link", name="Go to the sessions").click()
    expect(message(page)).to_be_visible()


def test_nothing_that_the_model_or_a_tool_says_becomes_markup_or_leaves_the_browser(page: Page, stage: Stage) -> None:
    play = stage.session("<img src=x onerror=window.hit=1>")
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if stage.url not in request.url else None)
    log = open_session(page, play)
    evil = "<script>window.hit=1</script><img src=https://evil.example/a onerror=window.hit=1>"
    play.say(f"{evil} ![x](https://evil.example/b) [y](javascript:window.hit=1) {{{{ constructor }}}}\n\n")
    play.tool(f"Ba{evil}sh", {"command": evil, "description": evil})
    play.tool_ends({"error": evil}, status="error")
    play.ask("Write", {"file_path": f"/x{evil}", "content": f"```\n{evil}"})
    play.ask("AskUserQuestion", {"questions": [{"question": evil, "header": evil, "options": [{"label": evil}]}]})
    play.ask("ExitPlanMode", {"plan": f"# {evil}"})
    expect(page.get_by_role("button", name="Approve plan")).to_be_visible()
    expect(log.locator("a").first).to_have_attribute("rel", "noopener noreferrer")
    assert log.locator("img, script, a[href^=javascript]").count() == 0
    assert page.evaluate("window.hit") is None
    assert [url for url in foreign if not url.startswith(("data:", "ws:"))] == []


def test_half_an_emoji_and_control_characters_break_no_page(page: Page, stage: Stage) -> None:
    odd = "a\ud83d\x00\x1b[31m\x07\u202e\ufffeb"
    play = stage.session(odd)
    log = open_session(page, play)
    play.emit({"type": "thinking_delta", "delta": odd}, {"type": "session_warning", "reason": odd, "message": odd})
    play.say(f"{odd} `{odd}`\n\n```\n{odd}\n```", 1)
    play.tool(f"Ba{odd}sh", {"command": odd, odd: odd})
    play.ask("Bash", {"command": odd})
    play.ask("AskUserQuestion", {"questions": [{"question": odd, "header": odd, "options": [{"label": odd}]}]})
    play.ask("ExitPlanMode", {"plan": odd})
    expect(page.get_by_role("button", name="Approve plan")).to_be_visible()
    page.get_by_role("group", name="AskUserQuestion").get_by_role("button", name="Skip").click()
    play.tool_ends({"error": odd}, status="error")
    expect(log.get_by_text("Error", exact=True)).to_be_visible()
    play.emit({"type": "stream_error", "error": odd, "partial_preserved": True, "suggested_action": "none"})
    play.emit({"type": "session_updated", "title": odd})
    play.end()
    expect(log.get_by_role("button", name="Resume")).to_be_visible()
    page.reload()
    expect(log.get_by_role("button", name="Resume")).to_be_visible()
    log.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).not_to_contain_text("Ended")


# ---------------------------------------------------------------- requests of the agent


def test_allowing_once_answers_in_every_tab(new_context: NewContext, stage: Stage) -> None:
    play = stage.session("Write")
    first, second = new_context().new_page(), new_context().new_page()
    open_session(first, play)
    open_session(second, play)
    play.ask("Bash", {"command": "rm -r build"})
    cards = [page.get_by_role("group", name="Permission: Bash") for page in (first, second)]
    for card in cards:
        expect(card).to_contain_text("rm -r build")
    second.reload()
    expect(cards[1]).to_be_visible()
    cards[0].get_by_role("button", name="Allow once").click()
    for card in cards:
        expect(card).to_have_count(0)
    assert [answer["behavior"] for answer in play.answers()] == ["allow"]


def test_denying_passes_the_reason_on_and_enter_never_allows(page: Page, stage: Stage) -> None:
    play = stage.session("Write")
    open_session(page, play)
    play.ask("Bash", {"command": "rm -r build"})
    card = page.get_by_role("group", name="Permission: Bash")
    card.get_by_label("Reason for the agent").fill("Use a fresh folder")
    card.get_by_label("Reason for the agent").press("Enter")
    expect(card).to_have_count(0)
    play.ask("Bash", {"command": "make"})
    card.get_by_role("button", name="Deny").click()
    expect(card).to_have_count(0)
    denied = play.answers()
    assert [answer["behavior"] for answer in denied] == ["deny", "deny"]
    assert denied[0]["message"] == "Use a fresh folder"


def test_questions_are_answered_by_choice_and_by_words(page: Page, stage: Stage) -> None:
    options = [{"label": "Blue", "description": "Calm"}, {"label": "Green"}]
    questions = [
        {"question": "Which colour?", "header": "Colour", "multiSelect": False, "options": options},
        {"question": "Which parts?", "header": "Parts", "multiSelect": True, "options": options},
    ]
    play = stage.session("Ask")
    open_session(page, play)
    play.ask("AskUserQuestion", {"questions": questions})
    card = page.get_by_role("group", name="Permission: AskUserQuestion")
    card.get_by_role("radio", name="Green").check()
    card.get_by_role("button", name="Answer").click()
    expect(page.get_by_role("alert")).to_contain_text("Answer every question")
    parts = card.get_by_role("group", name="Which parts?")
    parts.get_by_role("checkbox", name="Blue").check()
    parts.get_by_role("checkbox", name="Green").check()
    parts.get_by_role("textbox", name="Another answer").fill("and red")
    card.get_by_role("button", name="Answer").click()
    expect(card).to_have_count(0)
    answers = play.answers()[0]["updated_input"]["answers"]
    assert answers == {"Which colour?": "Green", "Which parts?": "Blue, Green, and red"}


def test_a_plan_is_approved_or_sent_back_with_a_comment(page: Page, stage: Stage) -> None:
    play = stage.session("Plan")
    open_session(page, play)
    card = page.get_by_role("group", name="Permission: ExitPlanMode")
    play.ask("ExitPlanMode", {"plan": "# The plan\n\n1. First\n2. Second"})
    expect(card.get_by_role("heading", name="The plan")).to_be_visible()
    card.get_by_role("textbox").fill("Add tests")
    card.get_by_role("button", name="Keep planning").click()
    expect(card).to_have_count(0)
    play.ask("ExitPlanMode", {"plan": "# The plan\n\n1. Tests"})
    card.get_by_role("button", name="Approve plan").click()
    expect(card).to_have_count(0)
    back, approved = play.answers()
    assert (back["behavior"], back["message"], approved["behavior"]) == ("deny", "Add tests", "allow")


# ---------------------------------------------------------------- the connection


def test_a_lost_connection_is_shown_and_nothing_is_missing_afterwards(page: Page, stage: Stage) -> None:
    play = stage.session("Offline")
    log = open_session(page, play)
    page.evaluate("window.stillHere = true; window.socket.disconnect()")
    expect(page.get_by_role("status")).to_contain_text("Reconnecting...")
    message(page).fill("Kept while offline")
    message(page).press("Enter")
    expect(message(page)).to_have_value("Kept while offline")
    play.say("Said while nobody listened.")
    page.evaluate("window.socket.connect()")
    expect(page.get_by_role("status")).to_contain_text("Connected")
    expect(log).to_contain_text("Said while nobody listened.")
    assert page.evaluate("window.stillHere")
