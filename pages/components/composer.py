"""The input field: Enter is decided and the draft kept in the browser, so that no letter is lost to the network."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

from nicegui import ui
from nicegui.binding import BindableProperty, bind_from
from nicegui.events import GenericEventArguments

from claude_pattern.events import MAX_MESSAGE_CHARS
from claude_pattern.sessions.state import SessionState

from .. import texts


class Composer(ui.element, component="../static/composer.js"):
    """A growing text field with Send, and Stop while `busy`.

    `draft` names the draft in the browser's storage. `on_send` gets the text and tells whether it was taken; if not,
    the text returns to the field.
    """

    busy = BindableProperty(on_change=lambda sender, _: cast(Composer, sender)._show())
    status = BindableProperty(on_change=lambda sender, _: cast(Composer, sender)._show())

    def __init__(
        self,
        draft: str,
        *,
        on_send: Callable[[str], Awaitable[bool]],
        on_stop: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        super().__init__()
        self._draft = draft
        self._on_send = on_send
        self.props.update(
            {
                "draft": draft,
                "max": MAX_MESSAGE_CHARS,
                "labels": {"message": texts.MESSAGE, "send": texts.SEND, "stop": texts.STOP},
            }
        )
        self.busy, self.status = False, "active"
        self._show()
        self.on("send", self._send)
        if on_stop is not None:
            self.on("stop", on_stop, [])

    def follow(self, state: SessionState) -> None:
        """Offer Stop while the session works, and be gone when it has ended for good."""
        bind_from(self, "busy", state, "is_query_active", self_strict=False)
        bind_from(self, "status", state, "status", self_strict=False)
        self.bind_visibility_from(state, "status", lambda status: status != "terminated" or state.is_resumable)

    def restore(self, text: str) -> None:
        """Put a text back into the field, before what has been written meanwhile."""
        self.run_method("restore", text)

    async def _send(self, event: GenericEventArguments) -> None:
        client, storage = self.client, json.dumps(f"draft:{self._draft}")
        taken = json.dumps(await self._on_send(str(event.args)))
        # By now the page may have gone on to the new session: then nobody but us is left to clear the draft.
        client.run_javascript(
            f"const field = getElement({self.id});"
            f"if (field) field.settle({taken}); else if ({taken}) localStorage.removeItem({storage});"
        )

    def _show(self) -> None:
        waits = self.busy or self.status == "restarting"
        now = texts.PLACEHOLDER_ENDED if self.status == "terminated" else texts.PLACEHOLDER
        self.props.update({"busy": self.busy, "placeholder": texts.PLACEHOLDER_BUSY if waits else now})
