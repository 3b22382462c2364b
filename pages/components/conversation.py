"""The conversation of one session: what the state holds, drawn for one tab and kept up to date while it grows."""

import asyncio
import math

from nicegui import ui

from claude_pattern import events
from claude_pattern.sessions.state import Message, OpenRequest, SessionState, TextPart, ThinkingPart

from .. import texts
from ..actions import Actions
from .controls import Boundary, Button, Text, reconcile
from .greeting import Greeting
from .message import MessageView, Notice, UserMessage
from .request_card import RequestCard

FLUSH_S = 0.04
"""Shortest pause between two drawings; 25 a second read as a flow."""

PAGE = 30
"""So many messages are drawn at first, and more each time somebody asks for older ones."""

ANNOUNCED_CHARS = 300


class Conversation(Boundary):
    """Follows a session's state. It attaches when it is made and detaches when it is deleted."""

    def __init__(self, actions: Actions) -> None:
        super().__init__()
        self._actions = actions
        self._state: SessionState = actions.state
        self._messages: list[MessageView | UserMessage] = []
        self._queued: list[UserMessage] = []
        self._warnings: list[Notice] = []
        self._requests: list[RequestCard] = []
        self._timer: asyncio.TimerHandle | None = None
        self._structure_changed = False
        self._older = max(0, len(self._sent()) - PAGE)
        self.classes("transcript")
        with self, ui.element("div").classes("scroller") as self._log:
            self._log.props.update({"role": "log", "aria-label": texts.CONVERSATION, "aria-live": "off", "tabindex": 0})
            with ui.element("div").classes("thread"):
                self._greeting = Greeting(actions.desk, actions.send)
                self._more = Button(texts.SHOW_OLDER, kind="outlined older", on_click=self._show_older)
                self._sent_box = Boundary().classes("messages")
                self._warning_box = Boundary().classes("messages")
                self._request_box = Boundary().classes("requests")
                self._queue_box = Boundary().classes("messages queue")
        with self:
            Button(texts.JUMP_TO_LATEST, icon="down", kind="jump").on("click", js_handler=_JUMP)
            with Boundary():
                self._announcer = Text().classes("sr-only").props("aria-live=polite")
        self._draw_all()
        self._stop_listening = self._state.listen(self._on_event)

    def _handle_delete(self) -> None:
        self._stop_listening()
        if self._timer is not None:
            self._timer.cancel()
        super()._handle_delete()

    # ------------------------------------------------------------ when to draw

    def _on_event(self, event: events.AnySessionEvent) -> None:
        if not isinstance(event, events.StreamDelta | events.ThinkingDelta):
            self._structure_changed = True
        if self._timer is None:
            loop = asyncio.get_running_loop()
            # All tabs draw in the same slots of the clock, so that one rendering of the text serves them all.
            slot = math.floor(loop.time() / FLUSH_S) + max(1, math.ceil(self._pause() / FLUSH_S))
            self._timer = loop.call_at(slot * FLUSH_S, self._draw)

    def _pause(self) -> float:
        if self._structure_changed or not self._messages or not self._messages[-1].item.parts:
            return 0.0
        part = self._messages[-1].item.parts[-1]
        return part.markdown.pause if isinstance(part, TextPart | ThinkingPart) else 0.0

    def _draw(self) -> None:
        self._timer = None
        if self._structure_changed:
            self._structure_changed = False
            self._draw_all()
        elif self._messages:
            self._messages[-1].sync()

    # ------------------------------------------------------------ what to draw

    def _sent(self) -> list[Message]:
        return [message for message in self._state.messages if message.status != "queued"]

    def _draw_all(self) -> None:
        shown = self._sent()[self._older :]
        before = self._messages[-1] if self._messages else None
        streaming = isinstance(before, MessageView) and before.streaming
        reconcile(self._sent_box, self._messages, shown, self._view)
        reconcile(self._warning_box, self._warnings, self._state.warnings, _warning)
        reconcile(self._request_box, self._requests, list(self._state.requests.values()), self._card)
        queued = [message for message in self._state.messages if message.status == "queued"]
        reconcile(self._queue_box, self._queued, queued, self._user_message)
        empty = not self._state.messages
        self._greeting.set_visibility(empty)
        self._log.classes(add="from-top" if empty else "", remove="" if empty else "from-top")
        self._more.set_visibility(self._older > 0)
        if streaming and isinstance(before, MessageView) and not before.streaming:
            self._announcer.set_text(before.item.text[:ANNOUNCED_CHARS])

    def _view(self, message: Message) -> MessageView | UserMessage:
        return self._user_message(message) if message.role == "user" else MessageView(message, self._actions)

    def _user_message(self, message: Message) -> UserMessage:
        return UserMessage(message, self._actions)

    def _card(self, request: OpenRequest) -> RequestCard:
        return RequestCard(request, self._actions)

    def _show_older(self) -> None:
        self._older = max(0, self._older - PAGE)
        self._draw_all()


def _warning(sentence: str) -> Notice:
    return Notice("warning", sentence)


_JUMP = """(event) => event.currentTarget.closest('.transcript').querySelector('.scroller').scrollTo({ top: 0 })"""
