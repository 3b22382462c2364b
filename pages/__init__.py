"""Everything that draws: NiceGUI pages bound to the session states, on the same FastAPI application as the API."""

from typing import Any

from fastapi import FastAPI
from nicegui import ui
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from claude_pattern import timeouts
from claude_pattern.api.keys import Keys
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.settings import Settings

from . import chat, login, texts, theme
from .actions import Welcome

RECONNECT_S = 60.0
"""So long a browser may be away without losing its page; NiceGUI's 3 s reload it after every hiccup."""

COOKIE = "claude_pattern_page"
"""NiceGUI's own cookie: a random id that gives no access to anything."""


class LastingFiles(StaticFiles):
    """Files that browsers need not ask for again: their addresses change with them (`theme.asset`)."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, to be kept for a year."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


def mount(
    app: FastAPI, *, manager: SessionManager, keys: Keys, settings: Settings, welcome: Welcome | None = None
) -> None:
    """Add the pages and their files to `app`; call it after every other route, for NiceGUI takes all that is left."""
    app.include_router(login.router(keys))
    app.mount("/static/nicegui", LastingFiles(directory=theme.NICEGUI_STATIC))
    app.mount("/static", LastingFiles(directory=theme.STATIC))
    ui.add_head_html(theme.head(), shared=True)
    chat.register(manager, welcome, asks_first=settings.permission_mode == "default")
    ui.run_with(
        app,
        root=chat.nowhere,
        title=texts.PRODUCT,
        favicon=theme.STATIC / "favicon.svg",
        dark=None,
        language="en-US",
        tailwind=False,
        binding_refresh_interval=None,
        reconnect_timeout=RECONNECT_S,
        storage_secret=keys.storage_secret,
        session_middleware_kwargs={
            "session_cookie": COOKIE,
            "same_site": "lax",
            "max_age": int(timeouts.LOGIN_SESSION),
        },
        show_welcome_message=False,
    )
