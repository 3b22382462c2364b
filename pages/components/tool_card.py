"""A tool call: one line that says what it does and how it went, input and output folded below."""

from collections.abc import Mapping
from datetime import UTC, datetime

from nicegui import ui

from claude_pattern.sessions.markdown import code_to_html
from claude_pattern.sessions.state import OpenRequest, ToolCall

from .. import texts
from . import tool_text
from .controls import Button, Disclosure, Icon, Text

SHOWN_CHARS = 4_000
"""So much of an input or output is shown at first; the rest comes on demand."""

TICK_S = 1.0


class ToolCard(ui.element):
    """Follows one tool call; `requests` are the session's open ones, which it may wait for."""

    def __init__(self, call: ToolCall, requests: Mapping[str, OpenRequest]) -> None:
        super().__init__("div")
        self.item = call
        self._requests = requests
        self._shown: tuple[str, OpenRequest | None] = ("", None)
        self._inside: ui.element | None = None
        self.classes("tool")
        self.props.update({"role": "group", "aria-label": texts.tool(call.tool)})
        with self, Disclosure() as fold:
            with fold.summary:
                Icon(tool_text.icon(call.tool))
                Text(tool_text.name(call.tool)).classes("tool-name")
                Text(tool_text.summary(call.tool, call.input)).classes("tool-what")
                self._elapsed = Text().classes("tool-elapsed")
                self._label = Text().classes("tool-status")
                Icon("chevron")
            with ui.element("div").classes("tool-body"):
                shown = tool_text.details(call.tool, call.input)
                LongCode(shown.code, shown.language)
                self._output = ui.element("div").classes("tool-output")
        with self:
            self._clock = ui.timer(TICK_S, self._tick, immediate=False) if call.status == "executing" else None
        self.sync()

    def sync(self) -> None:
        """Draw the status, and the output when it is there."""
        call, request = self.item, self._request()
        if (call.status, request) == self._shown:
            return
        self._shown = call.status, request
        self.classes(replace="tool waiting" if request else f"tool {call.status}")
        if call.status == "executing":
            self._label.set_text(texts.WAITING[request.kind] if request else texts.EXECUTING)
            return
        self._label.set_text(texts.complete(call.duration_ms) if call.status == "success" else texts.ERROR)
        self._elapsed.set_text("")
        if self._clock is not None:
            self._clock.cancel()
        self._draw_output()

    def _request(self) -> OpenRequest | None:
        if self.item.status != "executing":
            return None
        return next((r for r in self._requests.values() if r.tool_use_id == self.item.tool_use_id), None)

    def nested(self) -> ui.element:
        """The place of what a sub-agent does."""
        if self._inside is None:
            with self:
                self._inside = ui.element("div").classes("nested parts")
        return self._inside

    def _draw_output(self) -> None:
        call = self.item
        text = call.error if call.status == "error" and call.error else tool_text.output(call.result)
        with self:
            if call.status == "error":
                reason = tool_text.output(text).partition("\n")[0]
                Text(reason, "p").classes("tool-reason").move(target_index=1)
        with self._output:
            Text(texts.OUTPUT, "h4")
            LongText(tool_text.output(text) or texts.NO_OUTPUT)

    def _tick(self) -> None:
        elapsed = datetime.now(UTC) - self.item.started_at
        self._elapsed.set_text(texts.elapsed(round(elapsed.total_seconds())))


class LongText(ui.element):
    """Plain text, shortened until somebody wants all of it."""

    def __init__(self, text: str) -> None:
        super().__init__("div")
        self.classes("long")
        with self:
            shown = Text(text[:SHOWN_CHARS], "pre")
            if len(text) > SHOWN_CHARS:
                Button(texts.show_all(len(text)), on_click=lambda event: (shown.set_text(text), event.sender.delete()))


class LongCode(ui.element):
    """Code, shortened until somebody wants all of it."""

    def __init__(self, code: str, language: str) -> None:
        super().__init__("div")
        self.classes("long")
        with self:
            shown = ui.html(code_to_html(code[:SHOWN_CHARS], language), sanitize=False)
            if len(code) > SHOWN_CHARS:
                Button(
                    texts.show_all(len(code)),
                    on_click=lambda event: (shown.set_content(code_to_html(code, language)), event.sender.delete()),
                )
