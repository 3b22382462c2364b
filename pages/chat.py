"""The workspace: session list at the left, one session (or the welcome) in the middle."""

from typing import TYPE_CHECKING

from nicegui import ui

from claude_pattern.errors import SessionNotFound

from . import texts, theme
from .actions import Actions, Desk, Welcome
from .components.composer import Composer
from .components.controls import Boundary, Button, Text
from .components.conversation import Conversation
from .components.greeting import Greeting
from .components.notices import EmptyPage, tell
from .components.session_list import SessionList
from .components.status_bar import StatusBar

if TYPE_CHECKING:
    from claude_pattern.sessions.manager import SessionManager


def register(manager: "SessionManager", welcome: Welcome | None, *, asks_first: bool) -> None:
    """Add the workspace's addresses to NiceGUI; both lead to one page, which changes its middle without reloading."""

    def workspace() -> None:
        ui.on_exception(tell)
        desk = Desk(manager, welcome, asks_first=asks_first)
        with theme.frame(desk.banner) as side:
            ui.sub_pages(
                {"/": lambda: home(desk), "/chat/{session_id}": lambda session_id: chat(desk, session_id)}
            ).classes("view")
        with side:
            Button(texts.NEW_SESSION, icon="plus", kind="filled go new-session", on_click=lambda: desk.new_session())
            SessionList(desk)

    for path in ("/", "/chat/{session_id}"):
        ui.page(path)(workspace)


def home(desk: Desk) -> None:
    """The welcome: what this is, prompts to try, and an input field that opens a session."""
    ui.page_title(texts.PRODUCT)
    with ui.element("div").classes("chat"):
        with ui.element("div").classes("scroller"):
            Greeting(desk, desk.new_session)
        with ui.element("div").classes("dock"):
            with Boundary():
                Composer("new", on_send=desk.new_session)
            StatusBar()


def chat(desk: Desk, session_id: str) -> None:
    """One session; every part of it follows the session's state."""
    try:
        session = desk.manager.get(session_id)
    except SessionNotFound:
        _not_found(desk)
        return
    actions, state = Actions(desk, session), session.state
    with ui.element("div").classes("chat"):
        with Boundary("header").classes("top"):
            Title().bind_text_from(state, "title", lambda title: title or texts.UNTITLED)
        Conversation(actions)
        with ui.element("div").classes("dock"):
            with Boundary():
                actions.composer = Composer(session_id, on_send=actions.send, on_stop=actions.stop)
                actions.composer.follow(state)
                Text(texts.ENDED, "p").classes("ended").bind_visibility_from(state, "status", _has_ended)
            StatusBar(state)


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


def _not_found(desk: Desk) -> None:
    ui.page_title(texts.NOT_FOUND)
    with ui.element("div").classes("chat"):
        with EmptyPage(texts.NOT_FOUND, texts.NOT_FOUND_TEXT, icon="search"):
            Button(texts.START_NEW_SESSION, icon="plus", kind="filled", on_click=lambda: desk.new_session())
        with ui.element("div").classes("dock"):
            StatusBar()


def _has_ended(status: str) -> bool:
    return status == "terminated"
