"""What goes wrong, and what is not there: toasts, notices, empty pages."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import context, ui

from claude_pattern.errors import friendly

from .. import texts
from .controls import Icon, Text

STAYS_MS = 15_000
PATIENCE_S = 0.3


def tell(error: BaseException) -> None:
    """Show what went wrong to the person whose page this is; the sentence stays long enough to be read twice."""
    explanation = friendly(error)
    ui.notify(
        explanation.message,
        position="top",
        timeout=STAYS_MS,
        close_button=texts.DISMISS,
        textColor="inherit",  # Quasar's default is white
        classes="toast toast-error",
        group=explanation.code,
    )


def mention(sentence: str) -> None:
    """Show a sentence for a few seconds."""
    ui.notify(sentence, position="top", timeout=4000, textColor="inherit", classes="toast")


def working(sentence: str) -> ui.notification:
    """Show that something takes its time; the caller dismisses it."""
    return ui.notification(sentence, spinner=True, position="top", timeout=None, textColor="inherit", classes="toast")


@contextmanager
def while_working(sentence: str) -> Iterator[None]:
    """Show that something takes its time, as long as the block lasts; nothing flashes up for what is quick."""
    client, shown = context.client, list[ui.notification]()

    def show() -> None:
        if not client.is_deleted:
            with client:
                shown.append(working(sentence))

    timer = asyncio.get_running_loop().call_later(PATIENCE_S, show)
    try:
        yield
    finally:
        timer.cancel()
        for notice in shown:
            notice.dismiss()


class EmptyPage(ui.element):
    """A page without content: a sentence, what it means, and what can be done (put the controls inside)."""

    def __init__(self, title: str, text: str, *, icon: str) -> None:
        super().__init__("div")
        self.classes("empty")
        with self:
            Icon(icon)
            Text(title, "h1")
            Text(text, "p")
