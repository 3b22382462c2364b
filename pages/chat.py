"""The workspace: session list at the left, one session (or the welcome) in the middle."""

import json
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nicegui import ui

from claude_pattern.errors import SessionNotFound, SessionNotResumable

from . import texts, theme
from .actions import Actions, Desk, Told, Welcome, address
from .components.composer import Composer
from .components.controls import Boundary, Button, Text
from .components.conversation import Conversation
from .components.greeting import Greeting
from .components.notices import EmptyPage, tell
from .components.session_list import SessionList
from .components.status_bar import StatusBar
from .ended import EndedSessions

if TYPE_CHECKING:
    from claude_pattern.sessions.manager import SessionManager
    from claude_pattern.sessions.session import Session


def register(manager: "SessionManager", welcome: Welcome | None, *, asks_first: bool) -> None:
    """Add the workspace's addresses to NiceGUI; all lead to one page, which changes its middle without reloading."""
    ended = EndedSessions(manager)

    def workspace() -> None:
        ui.on_exception(tell)
        desk = Desk(manager, ended, welcome, asks_first=asks_first)
        with theme.frame(desk.banner) as side:
            ui.sub_pages(
                {
                    "/": lambda: home(desk),
                    "/chat": lambda resume="": come_back(desk, resume),
                    "/chat/{session_id}": lambda session_id: chat(desk, session_id),
                }
            ).classes("view")
        with side:
            Button(texts.NEW_SESSION, icon="plus", kind="filled go new-session", on_click=lambda: desk.new_session())
            SessionList(desk)

    for path in ("/", "/chat", "/chat/{session_id}"):
        ui.page(path)(workspace)


def home(desk: Desk) -> None:
    """The welcome: what this is, prompts to try, and an input field that opens a session."""
    ui.page_title(texts.PRODUCT)
    with ui.element("div").classes("chat"):
        with ui.element("div").classes("scroller from-top"):
            Greeting(desk, desk.new_session)
        with ui.element("div").classes("dock"):
            with Boundary():
                Composer("new", on_send=desk.new_session)
            StatusBar()


def chat(desk: Desk, session_id: str) -> Awaitable[None] | None:
    """One session, live or ended; a live one is part of the server's first answer."""
    if (session := desk.manager.sessions.get(session_id)) is None:
        return _read_and_draw(desk, session_id)
    _draw(desk, session)
    return None


async def _read_and_draw(desk: Desk, session_id: str) -> None:
    with _waiting(texts.OPENING):
        try:
            session = await desk.manager.open(session_id)
        except SessionNotFound:
            session = None
    if session is not None:
        _draw(desk, session)
    else:
        _nothing(desk, texts.NOT_FOUND, texts.NOT_FOUND_TEXT, texts.START_NEW_SESSION)


def _draw(desk: Desk, session: "Session") -> None:
    actions, state = Actions(desk, session), session.state
    with ui.element("div").classes("chat"):
        with Boundary("header").classes("top"):
            Title().bind_text_from(state, "title", lambda title: title or texts.UNTITLED)
        Conversation(actions)
        with ui.element("div").classes("dock"):
            with Boundary():
                actions.composer = Composer(state.session_id, on_send=actions.send, on_stop=actions.stop)
                actions.composer.follow(state)
                Text(texts.ENDED, "p").classes("ended").bind_visibility_from(
                    state, "status", lambda status: status == "terminated" and not state.is_resumable
                )
            StatusBar(state)


def come_back(desk: Desk, session_id: str) -> Awaitable[None] | None:
    """The way back into an ended session: bring it back and go to its page."""
    if session_id:
        return _resume_and_go(desk, session_id)
    home(desk)
    return None


async def _resume_and_go(desk: Desk, session_id: str) -> None:
    ui.page_title(texts.PRODUCT)
    client, refused = ui.context.client, False
    with _waiting(texts.RESUMING):
        await client.connected()  # what only looks at the address, such as a preview of the link, starts nothing
        with Told():
            try:
                await desk.manager.resume(session_id)
            except SessionNotResumable:
                refused = True
    if refused:
        _nothing(desk, texts.NOT_RESUMABLE, texts.NOT_RESUMABLE_TEXT, texts.NEW_SESSION)
    else:
        # In place of this address: going back must not lead here again.
        here = json.dumps(address(session_id))
        client.run_javascript(f"history.replaceState({{}}, '', {here}); emitEvent('sub_pages_open', {here})")


def nowhere() -> None:
    """What every address shows that no page has."""
    ui.status_code(404)
    ui.page_title(texts.NO_PAGE)
    ui.context.client.content.classes(replace="main")
    with EmptyPage(texts.NO_PAGE, texts.NO_PAGE_TEXT, icon="search"):
        Text(texts.TO_SESSIONS, "a").classes("button filled").props("href=/")


class Title(Text):
    """The session's title, also that of the browser's tab."""

    def __init__(self) -> None:
        super().__init__(tag="h1")

    def _handle_text_change(self, text: str) -> None:
        super()._handle_text_change(text)
        with self:
            ui.page_title(f"{text} · {texts.PRODUCT}")


@contextmanager
def _waiting(sentence: str) -> Iterator[None]:
    """A page that says what it waits for, as long as the block lasts."""
    with ui.element("div").classes("chat") as page:
        Text(sentence, "p").classes("opening")
        with ui.element("div").classes("dock"):
            StatusBar()
    try:
        yield
    finally:
        if not page.is_deleted:
            page.delete()


def _nothing(desk: Desk, title: str, text: str, offer: str) -> None:
    ui.page_title(title)
    with ui.element("div").classes("chat"):
        with EmptyPage(title, text, icon="search"):
            Button(offer, icon="plus", kind="filled", on_click=lambda: desk.new_session())
        with ui.element("div").classes("dock"):
            StatusBar()
