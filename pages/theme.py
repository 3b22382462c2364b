"""What all pages share: the frame around them, and the files of `static/`."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import nicegui
from nicegui import context, ui

from . import texts
from .components.controls import Button, Icon, Text

STATIC = Path(__file__).parent / "static"
NICEGUI_STATIC = Path(nicegui.__file__).parent / "static"
FONTS = f"/static/nicegui/fonts.css?v={nicegui.__version__}"
"""NiceGUI's fonts for pages of ours: its own address of them would give every stranger a cookie and a storage."""

DRAWER_BREAKPOINT = 840
"""Narrower windows, in pixels, have the session list as a drawer. The stylesheet has the same number."""


def asset(name: str) -> str:
    """The address of a file in `static/`; it changes with the file, so that browsers may keep it."""
    return f"/static/{name}?v={sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def head() -> str:
    """What belongs into the head of every page."""
    return (
        f'<link rel="stylesheet" href="{asset("app.css")}">'
        f'<script src="{asset("theme.js")}"></script><script defer src="{asset("app.js")}"></script>'
    )


@contextmanager
def frame(banner: str | None) -> Iterator[ui.element]:
    """Draw a page's frame and go into its main part; yields the side part, for its own content."""
    client = context.client
    client.layout.props('view="lhh Lpr lff"')
    with client.layout:
        # A QDrawer that decides by itself whether it fits: NiceGUI's wrapper asks the browser on each connect.
        drawer = ui.element("q-drawer").props(f"show-if-above side=left width=288 breakpoint={DRAWER_BREAKPOINT}")
        drawer.move(target_index=0)
    drawer.classes("side")
    toggle = f"() => getElement({drawer.id}).toggle()"
    with drawer:
        with ui.element("div").classes("side-head"):
            Text(texts.PRODUCT).classes("product")
            Button(icon="close", label=texts.CLOSE_MENU, kind="quiet narrow-only").on("click", js_handler=toggle)
        side = ui.element("div").classes("side-main")
        _side_foot()
    # A choice in the drawer leads to the page behind it.
    chosen = f"innerWidth < {DRAWER_BREAKPOINT} && event.target.closest('a, .go')"
    side.on("click", js_handler=f"(event) => {{ if ({chosen}) getElement({drawer.id}).hide(); }}")
    client.content.classes(replace="main")
    if banner:
        with ui.element("div").classes("banner"):
            Icon("info")
            Text(banner)
    with ui.element("div").classes("stage"):
        Button(icon="menu", label=texts.OPEN_MENU, kind="quiet narrow-only open-menu").on("click", js_handler=toggle)
        yield side


def _side_foot() -> None:
    with ui.element("div").classes("side-foot"):
        with ui.element("fieldset").classes("themes"):
            Text(texts.THEME, "legend").classes("sr-only")
            for name, label in texts.THEMES.items():
                with ui.element("label").props(f'title="{label}"'):
                    choice = ui.element("input").props(f"type=radio name=theme value={name}")
                    choice.props["aria-label"] = label
                    choice.on("change", js_handler=f"() => chooseTheme('{name}')")
                    Icon(f"theme-{name}")
        with ui.element("form").props("method=post action=/logout"):
            Button(texts.SIGN_OUT, icon="leave", submit=True)
