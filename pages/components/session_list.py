"""The sessions at the left: the live ones, what needs attention first, and below them the newest ended ones."""

from nicegui import ui

from claude_pattern.events import SessionSummary
from claude_pattern.sessions.state import SessionState

from .. import texts
from ..actions import Desk
from .controls import Boundary, Text, reconcile
from .session_row import EndedRow, LiveRow, Row

REFRESH_S = 30.0
"""How often "5 min ago" is brought up to date."""


_EMIT = "(event) => emit(event.target.value.toWellFormed())"


class SessionList(Boundary):
    """Follows the manager's set of sessions; each row of a live one follows its own session's state."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._live: list[LiveRow] = []
        self._ended: list[EndedRow] = []
        self._query = ""
        self._path = self.client.sub_pages_router.current_path
        self.classes("sessions")
        with self:
            search = ui.element("input").classes("field search")
            search.props.update({"type": "search", "placeholder": texts.SEARCH_SESSIONS})
            search.props["aria-label"] = texts.SEARCH_SESSIONS
            search.on("input", lambda event: self._search(str(event.args)), js_handler=_EMIT)
            self._hint = Text(tag="p").classes("hint")
            with ui.element("div").classes("session-groups"):
                self._live_list = _list(texts.SESSIONS)
                self._heading = Text(texts.ENDED_SESSIONS, "h2").classes("group")
                self._ended_list = _list(texts.ENDED_SESSIONS)
            ui.timer(REFRESH_S, self._refresh, immediate=False)
        self.draw()
        self._stop_listening = (desk.manager.listen(self.draw), desk.ended.listen(self.draw))
        self.client.sub_pages_router.on_path_changed(self._went_to)

    def _handle_delete(self) -> None:
        for stop in self._stop_listening:
            stop()
        super()._handle_delete()

    def draw(self) -> None:
        """Bring rows and order up to date."""
        sessions = self._desk.manager.sessions
        live = sorted((session.state for session in sessions.values()), key=_urgency)
        reconcile(self._live_list, self._live, live, self._live_row)
        ended = [summary for summary in self._desk.ended.items if summary.session_id not in sessions]
        reconcile(self._ended_list, self._ended, ended, self._ended_row)
        self._filter()

    def _live_row(self, state: SessionState) -> LiveRow:
        row = LiveRow(state, self._desk, on_attention=self.draw)
        row.mark_current(self._path)
        return row

    def _ended_row(self, summary: SessionSummary) -> EndedRow:
        row = EndedRow(summary, self._desk)
        row.mark_current(self._path)
        return row

    def _rows(self) -> list[Row]:
        return [*self._live, *self._ended]

    def _search(self, query: str) -> None:
        self._query = query.strip().casefold()
        self._filter()

    def _filter(self) -> None:
        rows = self._rows()
        for row in rows:
            row.set_visibility(self._query in row.title.casefold())
        self._heading.set_visibility(any(row.visible for row in self._ended))
        self._hint.set_text(texts.NO_MATCH if rows else texts.NO_SESSIONS)
        self._hint.set_visibility(not any(row.visible for row in rows))

    def _went_to(self, path: str) -> None:
        self._path = path
        for row in self._rows():
            row.mark_current(path)

    def _refresh(self) -> None:
        for row in self._rows():
            row.sync()


def _list(name: str) -> ui.element:
    rows = ui.element("ul")
    rows.props.update({"role": "list", "aria-label": name})
    return rows


def _urgency(state: SessionState) -> tuple[bool, float]:
    return state.waiting_count == 0, -state.last_active_at.timestamp()
