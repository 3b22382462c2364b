"""What the views do on the server, seen by NiceGUI's simulated user: fast, and exact about what is sent."""

import asyncio
import gc
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
from nicegui import ui
from nicegui.client import Client
from nicegui.testing import User
from nicegui.testing.user_simulation import user_simulation

from claude_pattern import events, tasks
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.session import Session
from tests.browser.stage import Welcome, make_manager
from tests.unit.fake_agent import FakeAgent

chat = import_module("claude_pattern.pages.chat")
conversation = import_module("claude_pattern.pages.components.conversation")
message_views = import_module("claude_pattern.pages.components.message")

SLOT = 3 * conversation.FLUSH_S


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[SessionManager]:
    manager, records = make_manager(tmp_path, max_sessions=3)
    await records.initialize()
    yield manager
    await manager.shutdown(0)
    await records.close()


@pytest.fixture
async def user(manager: SessionManager) -> AsyncIterator[User]:
    async with user_simulation() as user:
        chat.register(manager, Welcome(), asks_first=True)
        yield user
        Client.page_routes.clear()  # else the simulation forgets the whole package, and the next test has two of it


async def open_session(user: User, manager: SessionManager, *texts: str) -> Session:
    session = await manager.create()
    for text in texts:
        await session.send(text, queue=True)
    await user.open(f"/chat/{session.session_id}")
    return session


def agent(session: Session) -> FakeAgent:
    return cast("FakeAgent", session.agent)


def find(user: User, kind: type[Any]) -> list[Any]:
    with user:
        return sorted(user.find(kind).elements, key=lambda element: element.id)


def html(user: User) -> str:
    assert user.client is not None
    return "".join(e.content for e in user.client.elements.values() if isinstance(e, ui.html))


async def test_the_conversation_follows_the_state(user: User, manager: SessionManager) -> None:
    session = await open_session(user, manager, "Hello")
    await user.should_see("Hello")
    session.emit(events.StreamDelta(delta="Some *text*"))
    await asyncio.sleep(SLOT)
    assert "<p>Some <em>text</em></p>" in html(user)
    await agent(session).finish(duration_ms=2000)
    await user.should_see("2.0s")


async def test_many_deltas_in_one_slot_are_drawn_once(
    user: User, manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await open_session(user, manager, "Hello")
    session.emit(events.StreamDelta(delta="start"))
    await asyncio.sleep(SLOT)
    drawn = 0
    real = message_views.TextView.sync

    def count(view: Any) -> None:
        nonlocal drawn
        drawn += 1
        real(view)

    monkeypatch.setattr(message_views.TextView, "sync", count)
    for _ in range(500):
        session.emit(events.StreamDelta(delta=" word"))
    await asyncio.sleep(SLOT)
    assert drawn == 1
    assert html(user).count("word") == 500


async def test_a_delta_sends_the_tail_and_nothing_else(
    user: User, manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await open_session(user, manager, "Hello")
    session.emit(events.StreamDelta(delta="First paragraph.\n\nSecond "))
    await asyncio.sleep(SLOT)
    assert user.client is not None
    sent: list[ui.element] = []
    monkeypatch.setattr(user.client.outbox, "enqueue_update", sent.append)
    session.emit(events.StreamDelta(delta="one goes on"))
    await asyncio.sleep(SLOT)
    assert {type(element) for element in sent} == {ui.html}
    assert len(set(map(id, sent))) == 1
    assert cast("ui.html", sent[0]).content == "<p>Second one goes on</p>\n"


async def test_views_let_go_of_the_session_when_the_tab_leaves_or_closes(user: User, manager: SessionManager) -> None:
    session = await open_session(user, manager, "Hello")
    other = await manager.create()
    alone = other.state.listeners
    assert session.state.listeners == alone + 1
    user.navigate.to(f"/chat/{other.session_id}")
    await user.should_see("What shall we work on?")
    assert (session.state.listeners, other.state.listeners) == (alone, alone + 1)
    assert user.client is not None
    user.client.delete()
    assert other.state.listeners == alone
    session.emit(events.StreamDelta(delta="nobody sees this"))
    await asyncio.sleep(SLOT)


async def test_a_finished_text_is_one_element_however_long_it_was(user: User, manager: SessionManager) -> None:
    session = await open_session(user, manager, "Hello")
    for number in range(20):
        session.emit(events.StreamDelta(delta=f"Paragraph {number}\n\n"))
        await asyncio.sleep(0)
    await agent(session).finish()
    await user.open(f"/chat/{session.session_id}")
    drawn = [element for element in find(user, ui.html) if element.content]
    assert len(drawn) == 1


async def test_a_card_that_stays_keeps_its_elements_when_another_is_answered(
    user: User, manager: SessionManager
) -> None:
    session = await open_session(user, manager, "Hello")
    asking = [tasks.spawn(agent(session).ask("Bash", {"command": f"make {n}"}), name="ask") for n in range(2)]
    await user.should_see("Allow Bash?")
    cards = find(user, import_module("claude_pattern.pages.components.request_card").RequestCard)
    assert len(cards) == 2
    session.answer(cards[0].item.request_id, "allow")
    await asyncio.sleep(SLOT)
    assert [card.is_deleted for card in cards] == [True, False]
    session.answer(cards[1].item.request_id, "deny")
    await asyncio.gather(*asking)


async def test_an_error_that_nobody_expected_gives_nothing_away(
    user: User, manager: SessionManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(**_: Any) -> None:
        raise RuntimeError("secret /path and key")

    monkeypatch.setattr(manager, "create", fail)
    await user.open("/")
    user.find("New session").click()
    await user.should_see("Something went wrong on the server.")
    await user.should_not_see("secret")
    caplog.clear()


async def test_an_unknown_session_offers_a_new_one(user: User) -> None:
    await user.open("/chat/00000000-0000-4000-8000-000000000000")
    await user.should_see("Session not found")
    await user.should_see("Start new session")


async def test_an_empty_session_greets_until_its_first_message(user: User, manager: SessionManager) -> None:
    session = await open_session(user, manager)
    await user.should_see("What shall we work on?")
    await user.should_see("It asks you before it changes anything.")
    await session.send("Hello")
    await asyncio.sleep(SLOT)
    await user.should_not_see("What shall we work on?")


async def test_the_status_bar_is_bound_to_the_state(user: User, manager: SessionManager) -> None:
    session = await open_session(user, manager, "Hello")
    await user.should_see("Thinking...")
    session.emit(events.ToolUse(tool_use_id="t", tool="Bash", input={"command": "ls"}))
    await user.should_see("Running Bash...")
    await agent(session).finish(total_cost_usd=0.0042)
    await user.should_see("$0.0042")
    session.state.memory_mb = 412.3
    await user.should_see("412 MB")


async def test_a_warning_is_shown_after_what_has_been_said(user: User, manager: SessionManager) -> None:
    session = await open_session(user, manager, "Hello")
    for sentence in ("Previous session could not be restored", "The session ends in 24 minutes."):
        session.emit(events.SessionWarning(reason="test", message=sentence))
        await user.should_see(sentence)


async def test_an_ended_session_comes_back_by_a_click(user: User, manager: SessionManager) -> None:
    session = await open_session(user, manager, "Hello")
    await manager.destroy(session.session_id)
    await user.should_see("Session ended.")
    user.find("Resume").click()
    await user.should_not_see("Resume")
    assert manager.sessions == {session.session_id: session}


async def test_an_ended_session_that_nobody_looks_at_is_read_and_let_go(user: User, manager: SessionManager) -> None:
    session_id = (await open_session(user, manager, "Hello")).session_id
    await user.open("/")
    await manager.destroy(session_id)
    manager._ended.clear()  # as after a restart of the server
    await user.open(f"/chat/{session_id}")
    await user.should_see("Hello")
    await user.should_see("Resume")
    assert session_id in manager._ended
    await user.open("/")
    for client in tuple(Client.instances.values()):
        client.delete()
    gc.collect()
    assert session_id not in manager._ended


async def test_the_ended_sessions_are_read_once_for_all_tabs_and_by_nobody_without_one(
    user: User, manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    real = manager.recent_ended

    async def count(limit: int) -> Any:
        nonlocal reads
        reads += 1
        return await real(limit)

    monkeypatch.setattr(manager, "recent_ended", count)
    sessions = [await manager.create() for _ in range(2)]
    assert reads == 0
    for _ in range(3):
        await user.open("/")
    await asyncio.sleep(SLOT)
    before = reads
    for session in sessions:
        await session.send("Ended together")
        await manager.destroy(session.session_id)
    await user.should_see("Ended together")
    assert reads - before <= 8  # two sessions, two changes each, and one more read after each at most
    for client in tuple(Client.instances.values()):
        client.delete()
    before = reads
    await manager.create()
    await asyncio.sleep(SLOT)
    assert reads == before
