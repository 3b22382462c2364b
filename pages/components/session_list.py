"""The live sessions at the left: what needs attention first, then the newest activity."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from nicegui import binding, ui

from claude_pattern.sessions.state import SessionState

from .. import texts
from ..actions import Desk, address
from .controls import Boundary, Button, Text, reconcile

REFRESH_S = 30.0
"""How often "5 min ago" is brought up to date."""


class SessionList(Boundary):
    """Follows the manager's set of sessions; each row follows its own session's state."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._rows: list[SessionRow] = []
        self._query = ""
        self._path = self.client.sub_pages_router.current_path
        self.classes("sessions")
        with self:
            search = ui.element("input").classes("field search")
            search.props.update({"type": "search", "placeholder": texts.SEARCH_SESSIONS})
            search.props["aria-label"] = texts.SEARCH_SESSIONS
            search.on("input", lambda event: self._search(str(event.args)), js_handler="(e) => emit(e.target.value)")
            self._hint = Text(tag="p").classes("hint")
            self._list = ui.element("ul")
            self._list.props.update({"role": "list", "aria-label": texts.SESSIONS})
            ui.timer(REFRESH_S, self._refresh, immediate=False)
        self.draw()
        self._stop_listening = desk.manager.listen(self.draw)
        self.client.sub_pages_router.on_path_changed(self._went_to)

    def _handle_delete(self) -> None:
        self._stop_listening()
        super()._handle_delete()

    def draw(self) -> None:
        """Bring rows and order up to date."""
        live = sorted((session.state for session in self._desk.manager.sessions.values()), key=_urgency)
        reconcile(self._list, self._rows, live, self._row)
        self._filter()

    def _row(self, state: SessionState) -> "SessionRow":
        row = SessionRow(state, self._desk, on_attention=self.draw)
        row.mark_current(self._path)
        return row

    def _search(self, query: str) -> None:
        self._query = query.strip().casefold()
        self._filter()

    def _filter(self) -> None:
        for row in self._rows:
            row.set_visibility(self._query in (row.item.title or texts.UNTITLED).casefold())
        self._hint.set_text(texts.NO_MATCH if self._rows else texts.NO_SESSIONS)
        self._hint.set_visibility(not any(row.visible for row in self._rows))

    def _went_to(self, path: str) -> None:
        self._path = path
        for row in self._rows:
            row.mark_current(path)

    def _refresh(self) -> None:
        for row in self._rows:
            row.sync()


class SessionRow(ui.element):
    """One session: title, what it does, size, last activity, and a menu."""

    waiting = binding.BindableProperty(on_change=lambda sender, _: cast(SessionRow, sender).on_attention())

    def __init__(self, state: SessionState, desk: Desk, *, on_attention: Callable[[], None]) -> None:
        super().__init__("li")
        self.item = state
        self.on_attention: Callable[[], None] = lambda: None
        with self:
            with ui.element("a").classes("session") as self._link:
                self._link.props["href"] = address(state.session_id)
                Text(tag="span").classes("session-title").bind_text_from(state, "title", _title)
                with ui.element("span").classes("session-meta"):
                    Text(texts.NEEDS_ANSWER).classes("badge").bind_visibility_from(state, "waiting_count", bool)
                    Text(texts.WORKING).classes("working").bind_visibility_from(state, "is_query_active")
                    Text().bind_text_from(state, "message_count", texts.messages)
                    self._when = Text()
            self._menu(desk)
        self.sync()
        binding.bind_from(self, "waiting", state, "waiting_count", self_strict=False)
        self.on_attention = on_attention

    def _menu(self, desk: Desk) -> None:
        state = self.item
        more = Button(icon="more", label=texts.actions_for(_title(state.title)), kind="quiet more")
        with more, ui.menu().props("auto-close anchor='bottom right' self='top right'").classes("menu"):
            copy = ui.element("button").classes("copy menu-item").props("type=button")
            copy.props["data-text"] = state.session_id
            with copy:
                Text(texts.COPY_ID)
            Button(texts.END_SESSION, kind="menu-item danger", on_click=lambda: _confirm_end(desk, state))

    def sync(self) -> None:
        """Bring the time since the last activity up to date; everything else is bound."""
        self._when.set_text(texts.ago(self.item.last_active_at, datetime.now(UTC)))

    def mark_current(self, path: str) -> None:
        """Show whether this session is the one on the page."""
        self._link.props.set_optional("aria-current", "page" if path == address(self.item.session_id) else None)


async def _confirm_end(desk: Desk, state: SessionState) -> None:
    with ui.dialog() as dialog, ui.element("div").classes("dialog"):
        Text(texts.END_QUESTION, "h2")
        Text(_title(state.title), "p").classes("dialog-subject")
        Text(texts.END_CONSEQUENCE, "p")
        with ui.element("div").classes("dialog-buttons"):
            Button(texts.CANCEL, kind="outlined", on_click=lambda: dialog.submit(False))
            Button(texts.END_SESSION, kind="filled danger", on_click=lambda: dialog.submit(True))
    agreed = await dialog
    dialog.delete()
    if agreed:
        await desk.end_session(state.session_id)


def _title(title: str | None) -> str:
    return title or texts.UNTITLED


def _urgency(state: SessionState) -> tuple[bool, float]:
    return state.waiting_count == 0, -state.last_active_at.timestamp()
