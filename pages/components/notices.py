"""What goes wrong, and what is not there: toasts, notices, empty pages."""

from nicegui import ui

from claude_pattern.errors import friendly

from .. import texts
from .controls import Icon, Text

STAYS_MS = 15_000


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


class EmptyPage(ui.element):
    """A page without content: a sentence, what it means, and what can be done (put the controls inside)."""

    def __init__(self, title: str, text: str, *, icon: str) -> None:
        super().__init__("div")
        self.classes("empty")
        with self:
            Icon(icon)
            Text(title, "h1")
            Text(text, "p")
