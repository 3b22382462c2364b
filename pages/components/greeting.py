"""What an empty conversation says: what this is, and prompts to try."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from .. import texts
from ..actions import Desk
from .controls import Button, Text


class Greeting(ui.element):
    """A welcome; a click on one of its prompts sends it."""

    def __init__(self, desk: Desk, send: Callable[[str], Awaitable[bool]]) -> None:
        super().__init__("div")
        self.classes("greeting")
        with self:
            Text(texts.WELCOME, "h1")
            Text(f"{texts.WELCOME_TEXT} {texts.ASKS_FIRST}" if desk.asks_first else texts.WELCOME_TEXT, "p")
            if not desk.prompts:
                return
            Text(texts.TRY_THESE, "p").classes("hint")
            with ui.element("div").classes("prompts"):
                for prompt, shows in desk.prompts:
                    with Button(kind="prompt", on_click=lambda prompt=prompt: send(prompt)):
                        Text(prompt).classes("prompt-text")
                        Text(shows).classes("prompt-shows")
