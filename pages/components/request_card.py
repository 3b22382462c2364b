"""What the agent wants from a person: a permission, an answer, a judgement of its plan."""

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from claude_pattern.sessions.markdown import to_html
from claude_pattern.sessions.state import OpenRequest

from .. import texts
from ..actions import Actions
from . import tool_text
from .controls import Boundary, Button, Form, Icon, Text, text_field
from .notices import mention
from .tool_card import LongCode

REASON = "reason"
OTHER = "other"


class RequestCard(Boundary):
    """One open request. The first answer counts, in whichever tab it is given; then the card is gone everywhere."""

    def __init__(self, request: OpenRequest, actions: Actions) -> None:
        super().__init__("section")
        self.item = request
        self._actions = actions
        self.classes(f"request {request.kind}")
        self.props.update({"role": "group", "aria-label": texts.permission(request.tool)})
        draw = {"permission": self._permission, "question": self._question, "plan": self._plan}
        with self:
            draw[request.kind]()

    def sync(self) -> None:
        """A request never changes."""

    # ------------------------------------------------------------ the three kinds

    def _permission(self) -> None:
        request = self.item
        # The title is the model's own word for it, and may make light of what it does.
        self._title("shield", texts.permission_title(tool_text.name(request.tool)))
        for sentence in (request.title, request.reason):
            if sentence:
                Text(sentence, "p").classes("request-reason")
        exact = tool_text.details(request.tool, request.input)
        if (what := tool_text.summary(request.tool, request.input)) and what not in exact.code:
            Text(what, "p").classes("request-what")
        LongCode(exact.code, exact.language)
        with Form(lambda fields: self._deny(dict(fields)[REASON])).classes("answer"):
            Button(texts.ALLOW_ONCE, kind="filled", on_click=lambda: self._actions.answer(request, "allow"))
            text_field(REASON, texts.DENY_REASON)
            Button(texts.DENY, kind="outlined", submit=True)

    def _plan(self) -> None:
        request = self.item
        self._title("list", texts.PLAN)
        ui.html(to_html(str(request.input.get("plan", ""))), sanitize=False).classes("prose plan-text")
        with Form(lambda fields: self._deny(dict(fields)[REASON] or texts.KEEP_PLANNING_MESSAGE)).classes("answer"):
            Button(texts.APPROVE_PLAN, kind="filled", on_click=lambda: self._actions.answer(request, "allow"))
            text_field(REASON, texts.PLAN_COMMENT)
            Button(texts.KEEP_PLANNING, kind="outlined", submit=True)

    def _question(self) -> None:
        questions = _questions(self.item.input)
        with Form(lambda fields: self._answer(questions, fields)):
            for number, question in enumerate(questions):
                _draw_question(number, question)
            with ui.element("div").classes("answer"):
                Button(texts.ANSWER, kind="filled", submit=True)
                Button(texts.SKIP, kind="outlined", on_click=lambda: self._deny(texts.SKIPPED))

    def _title(self, icon: str, text: str) -> None:
        with ui.element("div").classes("request-title"):
            Icon(icon)
            Text(text, "h3")

    # ------------------------------------------------------------ the answers

    def _deny(self, message: str) -> None:
        self._actions.answer(self.item, "deny", message=message.strip() or None)

    def _answer(self, questions: Sequence[dict[str, Any]], fields: Sequence[tuple[str, str]]) -> None:
        answers = collect(questions, fields)
        if len(answers) < len(questions):
            mention(texts.ANSWER_ALL)
        else:
            self._actions.answer(self.item, "allow", answers=answers)


def collect(questions: Sequence[dict[str, Any]], fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The answers by question text; several choices are joined by commas, a written answer comes last."""
    answers = {}
    for number, question in enumerate(questions):
        chosen = [value for name, value in fields if name == str(number)]
        written = [value.strip() for name, value in fields if name == f"{number}-{OTHER}" and value.strip()]
        if chosen or written:
            answers[str(question.get("question", ""))] = ", ".join([*chosen, *written])
    return answers


def _questions(given: dict[str, Any]) -> list[dict[str, Any]]:
    questions = given.get("questions")
    return [q for q in questions if isinstance(q, dict)] if isinstance(questions, list) else []


def _draw_question(number: int, question: dict[str, Any]) -> None:
    kind = "checkbox" if question.get("multiSelect") else "radio"
    with ui.element("fieldset").classes("question"):
        with ui.element("legend"):
            if question.get("header"):
                Text(str(question["header"])).classes("badge")
            Text(str(question.get("question", "")))
        for option in question.get("options") or []:
            if isinstance(option, dict):
                _draw_option(str(number), kind, option)
        text_field(f"{number}-{OTHER}", texts.OTHER_ANSWER)


def _draw_option(name: str, kind: str, option: dict[str, Any]) -> None:
    label = str(option.get("label", ""))
    with ui.element("label").classes("option"):
        ui.element("input").props.update({"type": kind, "name": name, "value": label})
        with ui.element("span"):
            Text(label).classes("option-label")
            if option.get("description"):
                Text(str(option["description"])).classes("option-description")
