"""The line at the bottom: connection, what the agent does now, and what the session has come to."""

from nicegui import ui

from claude_pattern.sessions.state import SessionState

from .. import texts
from .controls import Boundary, Text


class StatusBar(Boundary):
    """Bound to one session's state; without one it shows the connection alone."""

    def __init__(self, state: SessionState | None = None) -> None:
        super().__init__("footer")
        self.classes("status")
        self.props["role"] = "status"
        with self:
            Connection()
            if state is not None:
                _draw(state)


class Connection(ui.element, component="../static/connection.js"):
    """Whether this tab is connected, as the browser sees it."""

    def __init__(self) -> None:
        super().__init__()
        words = {"connecting": texts.CONNECTING, "online": texts.CONNECTED, "offline": texts.RECONNECTING}
        self.props["labels"] = words


def _draw(state: SessionState) -> None:
    Text().classes("standing").bind_text_from(state, "status", lambda status: texts.STANDING.get(status, ""))
    Text().classes("activity").bind_text_from(state, "activity")
    ui.element("span").classes("spring")
    Text().classes("wide-only").bind_text_from(state, "model", lambda model: model or "")
    Text().classes("wide-only").bind_text_from(state, "memory_mb", texts.memory)
    Text().classes("wide-only").bind_text_from(state, "message_count", texts.messages)
    Text().bind_text_from(state, "total_cost_usd", texts.cost)
    session_id = Text(state.session_id[:8]).classes("session-id wide-only")
    session_id.props["title"] = state.session_id
