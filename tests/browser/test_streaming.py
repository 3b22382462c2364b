"""What a long answer costs a tab, and that it ends exact."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext, Stage

pytestmark = pytest.mark.browser

COUNT = """() => {
  window.redraws = [];
  let pending = false;
  new MutationObserver(() => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => { pending = false; window.redraws.push(performance.now()); });
  }).observe(document.querySelector("[role=log]"), { childList: true, subtree: true, characterData: true });
}"""

ANSWER = "".join(
    f"Paragraph {n} with **bold** words and `code`.\n\n```python\nvalue_{n} = {n}\nprint(value_{n})\n```\n\n"
    f"- item {n}\n- another\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    for n in range(34)
)


def test_a_thousand_deltas_redraw_at_most_thirty_times_a_second_and_end_exact(page: Page, stage: Stage) -> None:
    play = stage.session("Write a lot")
    page.goto(f"/chat/{play.id}")
    expect(page.get_by_role("status")).to_contain_text("Connected")
    page.evaluate(COUNT)
    chunk = len(ANSWER) // 1000 + 1
    play.stream(ANSWER, chunk=chunk, pause=0.003)
    expect(page.get_by_text("Paragraph 33")).to_be_visible()
    page.wait_for_timeout(200)
    redraws: list[float] = page.evaluate("window.redraws")
    seconds = (redraws[-1] - redraws[0]) / 1000
    print(f"{len(redraws)} redraws in {seconds:.1f} s: {len(redraws) / seconds:.1f} a second")
    assert len(redraws) / seconds <= 30
    assert len(redraws) >= 10  # it flows, it does not jump
    play.finish()
    expect(page.get_by_role("button", name="Copy message")).to_be_visible()
    streamed = page.locator(".prose").inner_text()
    page.reload()
    expect(page.get_by_text("Paragraph 33")).to_be_visible()
    assert page.locator(".prose").inner_text() == streamed
    assert play.look()["messages"][1]["text"] == ANSWER
    assert page.locator(".prose pre").count() == 34


def test_an_answer_cut_inside_a_code_block_is_code_from_the_first_line_to_the_end(page: Page, stage: Stage) -> None:
    play = stage.session("Code")
    page.goto(f"/chat/{play.id}")
    log = page.get_by_role("log")
    for piece in ("Look:\n\n`", "``py", "thon\ndef f():\n    ret", "urn '<b>'"):
        play.say(piece)
    expect(log.locator("pre")).to_have_text("def f():\n    return '<b>'")
    page.get_by_role("button", name="Stop").click()
    expect(log).to_contain_text("[Response interrupted]")
    expect(log.locator("pre")).to_have_text("def f():\n    return '<b>'")
    expect(log.locator("pre .k").first).to_have_text("def")


def test_text_that_the_service_starts_again_replaces_the_first_try(page: Page, stage: Stage) -> None:
    play = stage.session("Flaky")
    page.goto(f"/chat/{play.id}")
    log = page.get_by_role("log")
    play.say("First try")
    expect(log).to_contain_text("First try")
    play.emit({"type": "stream_reset", "block": 0})
    play.say("Second try")
    expect(log).to_contain_text("Second try")
    expect(log).not_to_contain_text("First try")


def test_a_retry_of_the_service_is_told_while_it_lasts(page: Page, stage: Stage) -> None:
    play = stage.session("Busy")
    page.goto(f"/chat/{play.id}")
    busy = "The AI service is temporarily busy. Retrying automatically..."
    retry = {"type": "api_retry", "attempt": 1, "max_attempts": 4, "delay_seconds": 1.0, "message": busy}
    play.emit(retry)
    expect(page.get_by_role("log")).to_contain_text(busy)
    expect(page.get_by_role("status")).to_contain_text("Retrying (1/4)...")
    play.finish()
    expect(page.get_by_role("log")).not_to_contain_text(busy)


def test_thinking_is_folded_and_streams_when_it_is_open(page: Page, stage: Stage) -> None:
    play = stage.session("Think")
    page.goto(f"/chat/{play.id}")
    play.emit({"type": "thinking_delta", "delta": "First I look."})
    summary = page.locator("summary")
    expect(summary).to_have_text("Thinking…")
    expect(page.get_by_text("First I look.")).to_be_hidden()
    summary.click()
    play.emit({"type": "thinking_delta", "delta": " Then I write."})
    expect(page.get_by_text("First I look. Then I write.")).to_be_visible()
    play.say("Done.", block=1)
    expect(summary).to_have_text("Thought process")
    expect(page.get_by_text("First I look. Then I write.")).to_be_visible()


def test_a_sub_agents_work_is_inside_its_card(page: Page, stage: Stage) -> None:
    play = stage.session("Delegate")
    page.goto(f"/chat/{play.id}")
    play.tool("Task", {"description": "Count files", "prompt": "..."}, "parent")
    play.emit({"type": "stream_delta", "delta": "I count.", "parent_tool_use_id": "parent"})
    inner = {"type": "tool_use", "tool_use_id": "child", "tool": "Bash", "input": {"command": "ls | wc -l"}}
    play.emit({**inner, "parent_tool_use_id": "parent"})
    card = page.get_by_role("group", name="Tool: Task")
    expect(card).to_contain_text("I count.")
    expect(card.get_by_role("group", name="Tool: Bash")).to_contain_text("Executing...")
    play.tool_ends("12", tool_use_id="child")
    expect(card.get_by_role("group", name="Tool: Bash")).to_contain_text("Complete (1.2s)")


def test_only_finished_messages_are_announced(new_context: NewContext, stage: Stage) -> None:
    play = stage.session("Speak")
    page = new_context().new_page()
    page.goto(f"/chat/{play.id}")
    log = page.get_by_role("log")
    expect(log).to_have_attribute("aria-live", "off")
    play.say("A whole answer.")
    expect(log).to_contain_text("A whole answer.")
    expect(page.locator("[aria-live=polite].sr-only")).to_be_empty()
    play.finish()
    expect(page.locator("[aria-live=polite].sr-only")).to_have_text("A whole answer.")
