"""One session in the list at the left."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from nicegui import binding, ui

from claude_pattern.events import SessionSummary
from claude_pattern.sessions.state import SessionState

from .. import texts
from ..actions import Desk, address
from . import dialogs
from .controls import Button, Text


class Row(ui.element):
    """Title, what there is to know, and a menu; the two kinds of rows fill `meta` and add to the menu."""

    title = binding.BindableProperty(on_change=lambda sender, _: cast(Row, sender)._show_title())

    def __init__(self, item: SessionState | SessionSummary, desk: Desk) -> None:
        super().__init__("li")
        self.item = item
        self.desk = desk
        with self:
            with ui.element("a").classes("session") as self._link:
                self._link.props["href"] = address(item.session_id)
                self._name = Text().classes("session-title")
                self.meta = ui.element("span").classes("session-meta")
            self._more = Button(icon="more", kind="quiet more", on_click=self._open_menu)
        self._menu: ui.menu | None = None
        self._more.props["aria-haspopup"] = "menu"
        self.title = item.title or texts.UNTITLED
        self._show_title()

    def _open_menu(self) -> None:
        # Made when it is wanted: the menus of all rows would be half of the page. From then on the browser opens it.
        if self._menu is None:
            with self._more, ui.menu(value=True) as self._menu:
                self._menu.props("auto-close anchor='bottom right' self='top right'").classes("menu")
                self.draw_menu()

    def draw_menu(self) -> None:
        """Fill the menu."""
        copy = ui.element("button").classes("copy menu-item").props("type=button")
        copy.props["data-text"] = self.item.session_id
        with copy:
            Text(texts.COPY_ID)
        Button(
            texts.RENAME,
            kind="menu-item",
            on_click=lambda: dialogs.rename(self.desk, self.item.session_id, self.item.title or ""),
        )

    def _show_title(self) -> None:
        self._name.set_text(self.title)
        self._more.props["aria-label"] = self._more.props["title"] = texts.actions_for(self.title)

    def mark_current(self, path: str) -> None:
        """Show whether this session is the one on the page."""
        self._link.props.set_optional("aria-current", "page" if path == address(self.item.session_id) else None)

    def sync(self) -> None:
        """Bring what is not bound up to date."""


class LiveRow(Row):
    """A live session; bound to its state."""

    waiting = binding.BindableProperty(on_change=lambda sender, _: cast(LiveRow, sender).on_attention())

    def __init__(self, state: SessionState, desk: Desk, *, on_attention: Callable[[], None]) -> None:
        super().__init__(state, desk)
        self.on_attention: Callable[[], None] = lambda: None
        with self.meta:
            Text(texts.NEEDS_ANSWER).classes("badge").bind_visibility_from(state, "waiting_count", bool)
            Text(texts.WORKING).classes("working").bind_visibility_from(state, "is_query_active")
            Text().classes("working").bind_text_from(state, "status", lambda status: texts.STANDING.get(status, ""))
            Text().bind_text_from(state, "message_count", texts.messages)
            self._when = Text()
        self.sync()
        binding.bind_from(self, "title", state, "title", lambda title: title or texts.UNTITLED, self_strict=False)
        binding.bind_from(self, "waiting", state, "waiting_count", self_strict=False)
        self.on_attention = on_attention

    def draw_menu(self) -> None:
        """Fill the menu."""
        super().draw_menu()
        Button(
            texts.END_SESSION,
            kind="menu-item danger",
            on_click=lambda: dialogs.end(self.desk, self.item.session_id, self.title),
        )

    def sync(self) -> None:
        """Bring the time since the last activity up to date; everything else is bound."""
        self._when.set_text(texts.ago(cast(SessionState, self.item).last_active_at, datetime.now(UTC)))


class EndedRow(Row):
    """An ended session; it never changes, a change makes another row."""

    def __init__(self, summary: SessionSummary, desk: Desk) -> None:
        super().__init__(summary, desk)
        with self.meta:
            Text(texts.messages(summary.message_count))
            self._when = Text()
        self.sync()

    def draw_menu(self) -> None:
        """Fill the menu."""
        super().draw_menu()
        if self.item.is_resumable:
            Button(texts.RESUME, kind="menu-item", on_click=lambda: self.desk.resume_and_show(self.item.session_id))

    def sync(self) -> None:
        """Bring the time since the last activity up to date."""
        ended = datetime.fromisoformat(cast(SessionSummary, self.item).last_active_at)
        self._when.set_text(texts.ago(ended, datetime.now(UTC)))
