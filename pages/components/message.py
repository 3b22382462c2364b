"""One message of the conversation and the parts it is made of; each view draws one object of the state."""

import json
from collections.abc import Callable
from typing import Any

from nicegui import ui

from claude_pattern.sessions.markdown import printable
from claude_pattern.sessions.state import Message, NoticePart, Part, TextPart, ThinkingPart, ToolCall

from .. import texts
from ..actions import Actions
from .controls import Boundary, Button, Disclosure, Icon, Text, reconcile
from .tool_card import ToolCard

BOX_CHILDREN = 40
"""A new block makes the browser go through all that are in the same box; a long answer fills several."""


class MessageView(Boundary):
    """A message of the model, or of the platform itself."""

    def __init__(self, message: Message, actions: Actions) -> None:
        super().__init__("article")
        self.item = message
        self._actions = actions
        self._views: list[Any] = []
        self._status = ""
        self.classes(f"message {message.role}")
        self.props["aria-label"] = texts.AGENT
        with self:
            self._parts = ui.element("div").classes("parts")
            self._footer = ui.element("footer")
        self.sync()

    @property
    def streaming(self) -> bool:
        """Whether the message was still growing when it was drawn last."""
        return self._status == "streaming"

    def sync(self) -> None:
        """Draw the parts that are new and what has changed in the others."""
        sync_parts(self._parts, self._views, self.item.parts, self._actions)
        if self.item.status != self._status:
            self._status = self.item.status
            self.classes(replace=f"bare message {self.item.role} {self._status}")
            if self._status != "streaming" and self.item.role == "assistant":
                self._draw_footer()

    def _draw_footer(self) -> None:
        self._footer.clear()
        with self._footer:
            if self.item.text:
                Button(icon="copy", label=texts.COPY_MESSAGE, on_click=lambda: copy(self.item.text))
            if self.item.duration_ms is not None:
                Text(texts.duration(self.item.duration_ms))
            if self.item.cost_usd is not None:
                Text(texts.cost(self.item.cost_usd))


class UserMessage(Boundary):
    """What a person has written, as plain text; a queued one can be taken back."""

    def __init__(self, message: Message, actions: Actions) -> None:
        super().__init__("article")
        self.item = message
        self.classes(f"message user {message.status}")
        self.props["aria-label"] = texts.YOU
        with self:
            Text(message.text, "p").classes("bubble")
            if message.status == "queued":
                with ui.element("footer"):
                    Text(texts.QUEUED).classes("badge")
                    Button(texts.EDIT_QUEUED, on_click=lambda: actions.edit_queued(message))
                    Button(texts.WITHDRAW, on_click=lambda: actions.withdraw(message))

    def sync(self) -> None:
        """A user message never changes."""


class TextView(ui.element):
    """Markdown that grows: finished blocks are sent once, only the tail is sent again.

    Blocks and tail have parents of their own, so that a growing tail makes the browser restyle nothing else.
    """

    def __init__(self, part: TextPart | ThinkingPart, _actions: Actions) -> None:
        super().__init__("div")
        self.item = part
        self._drawn = 0
        self._revision = part.markdown.revision
        self.classes("prose")
        with self:
            self._blocks = Boundary()
            with Boundary().classes("tail"):
                self._tail = ui.html(sanitize=False)
        self._box = self._blocks
        self.sync()

    def sync(self) -> None:
        """Send the blocks that have been finished since, and the tail."""
        markdown = self.item.markdown
        blocks, tail = markdown.render()
        if markdown.revision != self._revision:
            self._revision, self._drawn = markdown.revision, 0
            self._box = self._blocks.clear()
        if self._drawn < len(blocks):
            self._add("".join(blocks[self._drawn :]))
            self._drawn = len(blocks)
        self._tail.set_content(tail)

    def _add(self, html: str) -> None:
        if len(self._box.default_slot.children) >= BOX_CHILDREN:
            with self._blocks:
                self._box = Boundary()
        with self._box:
            ui.html(html, sanitize=False)


class ThinkingView(ui.element):
    """The model's thinking, folded."""

    def __init__(self, part: ThinkingPart, actions: Actions) -> None:
        super().__init__("div")
        self.item = part
        self.classes("thinking")
        with self, Disclosure() as fold:
            with fold.summary:
                Icon("chevron")
                self._title = Text(texts.THINKING)
            self._body = TextView(part, actions)
        self.sync()

    def sync(self) -> None:
        """Bring text and title up to date."""
        self._body.sync()
        self._title.set_text(texts.THOUGHTS if self.item.markdown.closed else texts.THINKING)


class Notice(ui.element):
    """A sentence of the platform."""

    def __init__(self, level: str, sentence: str) -> None:
        super().__init__("div")
        self.item: Any = sentence
        self.classes(f"notice {level}")
        if level == "error":
            self.props["role"] = "alert"
        with self:
            Icon("info" if level == "info" else "alert")
            self._sentence = Text(sentence, "p")

    def sync(self) -> None:
        """A sentence by itself never changes."""


class NoticeView(Notice):
    """A notice of the conversation, with the button that helps."""

    def __init__(self, part: NoticePart, actions: Actions) -> None:
        super().__init__(part.level, part.text)
        self.item = part
        state = actions.state
        with self:
            if part.action == "retry":
                retry = Button(texts.RETRY, icon="retry", kind="outlined only-in-last", on_click=actions.retry)
                retry.bind_visibility_from(state, "status", lambda status: status != "restarting")
            elif part.action == "resume" and state.is_resumable:
                resume = Button(texts.RESUME, icon="retry", kind="outlined only-in-last", on_click=actions.resume)
                resume.bind_visibility_from(state, "status", lambda status: status == "terminated")
            elif part.action in ("start_new_session", "resume"):
                Button(texts.START_NEW_SESSION, icon="plus", kind="outlined only-in-last", on_click=actions.new_session)

    def sync(self) -> None:
        """The sentence may have changed."""
        self._sentence.set_text(self.item.text)


class ToolView(ToolCard):
    """A tool call; what a sub-agent does inside it is drawn inside its card."""

    def __init__(self, call: ToolCall, actions: Actions) -> None:
        self._views: list[Any] = []
        self._actions = actions
        super().__init__(call, actions.state.requests)

    def sync(self) -> None:
        """Bring the card and what is inside it up to date."""
        super().sync()
        if self.item.children:
            sync_parts(self.nested(), self._views, self.item.children, self._actions)


_VIEWS: dict[type[Any], Callable[[Any, Actions], Any]] = {
    TextPart: TextView,
    ThinkingPart: ThinkingView,
    ToolCall: ToolView,
    NoticePart: NoticeView,
}


def sync_parts(container: ui.element, views: list[Any], parts: list[Part], actions: Actions) -> None:
    """Draw the parts of a message or of a sub-agent."""
    reconcile(container, views, parts, lambda part: _VIEWS[type(part)](part, actions))


def copy(text: str) -> None:
    """Put a text on the clipboard of the person whose page this is."""
    ui.run_javascript(f"copyText({json.dumps(printable(text))})")
