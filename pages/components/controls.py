"""The few building blocks that every page uses: a boundary, a button, an icon, plain text, a reconciled list."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import GenericEventArguments, Handler


class Boundary(ui.element):
    """A box that is a Vue component of its own.

    An update redraws the nearest component above it with everything inside: without boundaries one growing message
    beside a thousand others takes seconds. A bare QCard is the lightest component at hand.
    """

    def __init__(self, tag: str = "div") -> None:
        super().__init__("q-card")
        self.props["tag"] = tag
        self.classes("bare")


class Text(TextElement):
    """Text in an element of any tag; always a text node, never markup."""

    def __init__(self, text: str = "", tag: str = "span") -> None:
        super().__init__(tag=tag, text=text)


class Icon(ui.element):
    """A picture from the stylesheet, silent for screen readers."""

    def __init__(self, name: str) -> None:
        super().__init__("i")
        self.classes(f"icon icon-{name}")
        self.props["aria-hidden"] = "true"

    def show(self, name: str) -> None:
        """Change the picture."""
        self.classes(replace=f"icon icon-{name}")


class Button(TextElement):
    """A plain button; `label` names one that shows only an icon, `kind` is a class of the stylesheet."""

    def __init__(
        self,
        text: str = "",
        *,
        icon: str = "",
        label: str = "",
        kind: str = "quiet",
        submit: bool = False,
        on_click: Handler[GenericEventArguments] | None = None,
    ) -> None:
        super().__init__(tag="button", text=text)
        self.classes(f"button {kind}" + (f" with-icon icon-{icon}" if icon else ""))
        self.props["type"] = "submit" if submit else "button"
        if label:
            self.props["aria-label"] = self.props["title"] = label
        if on_click is not None:
            self.on("click", on_click, [])


class Disclosure(ui.element):
    """A native `details`: it opens without the server."""

    def __init__(self) -> None:
        super().__init__("details")
        with self:
            self.summary = ui.element("summary")


class Form(ui.element):
    """A native form; `on_submit` gets its fields as a list of (name, value) when the submit button is pressed."""

    def __init__(self, on_submit: Callable[[list[tuple[str, str]]], Any]) -> None:
        super().__init__("form")
        self.on(
            "submit",
            lambda event: on_submit([(str(name), str(value)) for name, value in event.args]),
            js_handler="(event) => { event.preventDefault(); emit([...new FormData(event.target).entries()]); }",
        )


def text_field(name: str, label: str) -> ui.element:
    """A one-line text field of a form."""
    field = ui.element("input").classes("field")
    field.props.update({"type": "text", "name": name, "placeholder": label, "aria-label": label, "autocomplete": "off"})
    return field


class View(Protocol):
    """An element that draws one item of the state."""

    item: Any

    def sync(self) -> None:
        """Bring the element up to date."""

    def delete(self) -> None:
        """Remove the element."""

    def move(self, target_container: ui.element | None = None, target_index: int = -1) -> Any:
        """Put the element in another place."""


V = TypeVar("V", bound=View)


def reconcile(container: ui.element, views: list[V], items: Sequence[Any], make: Callable[[Any], V]) -> None:
    """Draw `items` in `container`: views whose items are gone go, new items get theirs, the rest is updated in place.

    Items are compared by identity. A view that stays keeps its focus, text and fold.
    """
    known = {id(view.item): view for view in views}
    wanted = {id(item) for item in items}
    for view in views:
        if id(view.item) not in wanted:
            view.delete()
    views[:] = [view for view in views if id(view.item) in wanted]
    for index, item in enumerate(items):
        view = known.get(id(item)) or _add(container, views, make, item)
        view.sync()
        if views[index] is not view:
            views.remove(view)
            views.insert(index, view)
            view.move(target_index=index)


def _add(container: ui.element, views: list[V], make: Callable[[Any], V], item: Any) -> V:
    with container:
        view = make(item)
    views.append(view)
    return view
