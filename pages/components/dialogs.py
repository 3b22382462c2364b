"""What is asked before something is done to a session."""

from typing import TYPE_CHECKING

from nicegui import ui

from claude_pattern.sessions.manager import MAX_TITLE_CHARS

from .. import texts
from .controls import Button, Form, Text, text_field

if TYPE_CHECKING:
    from ..actions import Desk

TITLE = "title"


async def end(desk: "Desk", session_id: str, title: str) -> None:
    """End a session if the person really wants it."""
    with ui.dialog() as dialog, ui.element("div").classes("dialog"):
        Text(texts.END_QUESTION, "h2")
        Text(title, "p").classes("dialog-subject")
        Text(texts.END_CONSEQUENCE, "p")
        with ui.element("div").classes("dialog-buttons"):
            Button(texts.CANCEL, kind="outlined", on_click=lambda: dialog.submit(False))
            Button(texts.END_SESSION, kind="filled danger", on_click=lambda: dialog.submit(True))
    agreed = await dialog
    _dispose(dialog)
    if agreed:
        await desk.end_session(session_id)


async def rename(desk: "Desk", session_id: str, title: str) -> None:
    """Ask for another title; the dialog stays until the title has been taken or the person gives up."""

    async def save(fields: list[tuple[str, str]]) -> None:
        if await desk.rename(session_id, dict(fields)[TITLE]):
            dialog.submit(True)

    with ui.dialog() as dialog, ui.element("div").classes("dialog"), Form(save):
        Text(texts.RENAME_QUESTION, "h2")
        field = text_field(TITLE, texts.TITLE)
        # ^: as the attribute; the property would be set again, over what has been typed, with each update of the dialog
        field.props.update({"^value": title, "maxlength": MAX_TITLE_CHARS, "required": True, "autofocus": True})
        field.on("focus", js_handler="(event) => event.target.select()")
        with ui.element("div").classes("dialog-buttons"):
            Button(texts.CANCEL, kind="outlined", on_click=lambda: dialog.submit(False))
            Button(texts.SAVE, kind="filled", submit=True)
    await dialog
    _dispose(dialog)


def _dispose(dialog: ui.dialog) -> None:
    if not dialog.is_deleted:  # it goes with its row
        dialog.delete()
