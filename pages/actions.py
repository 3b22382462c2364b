"""What people can do, with every failure told to the one who did it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

from nicegui import context, ui

from claude_pattern.errors import ClaudePatternError
from claude_pattern.sessions.state import Message, OpenRequest, SessionState

from . import texts
from .components import notices

if TYPE_CHECKING:
    from claude_pattern.sessions.manager import SessionManager
    from claude_pattern.sessions.session import Session

    from .components.composer import Composer
    from .ended import EndedSessions


class Welcome(Protocol):
    """What the first screen tells: a banner above the pages, and prompts to try with what each shows."""

    @property
    def banner(self) -> str | None:
        """The sentence above every page; None for none."""

    @property
    def prompts(self) -> Sequence[tuple[str, str]]:
        """Prompts to try, each with what it shows."""


class Desk:
    """One browser tab at work: everything that concerns no single session."""

    def __init__(
        self, manager: "SessionManager", ended: "EndedSessions", welcome: Welcome | None, *, asks_first: bool
    ) -> None:
        self.manager = manager
        self.ended = ended
        self.banner = welcome.banner if welcome else None
        self.prompts = tuple(welcome.prompts) if welcome else ()
        self.asks_first = asks_first
        self._opening = False

    async def new_session(self, first_message: str | None = None) -> bool:
        """Open a session and go there; False when that failed, which has been told then."""
        if self._opening:
            return False
        self._opening = True
        client, waiting = context.client, list[ui.notification]()

        def on_cold(seconds: float) -> None:
            with client:
                waiting.append(notices.working(texts.starting(seconds)))

        try:
            with Told():
                session = await self.manager.create(on_cold=on_cold)
                with client:
                    ui.navigate.to(address(session.session_id))
                if first_message is not None:
                    await session.send(first_message)
                return True
        finally:
            self._opening = False
            for notice in waiting:
                notice.dismiss()
        return False

    async def end_session(self, session_id: str) -> None:
        """End a session and its agent process."""
        with Told():
            await self.manager.destroy(session_id)

    async def rename(self, session_id: str, title: str) -> bool:
        """Give a session another title; False when it was refused, which has been told then."""
        with Told():
            await self.manager.rename(session_id, title)
            return True
        return False

    async def resume(self, session_id: str) -> bool:
        """Bring an ended session back; False when that failed, which has been told then."""
        with Told(), notices.while_working(texts.RESUMING):
            await self.manager.resume(session_id)
            return True
        return False

    async def resume_and_show(self, session_id: str) -> None:
        """Bring an ended session back and go there; its page says what helps if that fails."""
        ui.navigate.to(address(session_id))
        await self.resume(session_id)


class Actions:
    """What people can do in one session, from one tab."""

    def __init__(self, desk: Desk, session: "Session") -> None:
        self.desk = desk
        self.composer: Composer | None = None
        self._session = session

    @property
    def state(self) -> SessionState:
        """The session's state."""
        return self._session.state

    async def send(self, text: str) -> bool:
        """Send a message, or queue it behind the running turn; False when it was refused, which has been told then.

        An ended session comes back for it.
        """
        with Told(), self._waking():
            await self._session.send(text, queue=True)
            return True
        return False

    async def stop(self) -> None:
        """Stop the running turn."""
        with Told():
            await self._session.interrupt()

    async def retry(self) -> None:
        """Send the last message again."""
        with Told(), self._waking():
            await self._session.retry()

    def _waking(self) -> AbstractContextManager[None]:
        return notices.while_working(texts.RESUMING) if self.state.status == "terminated" else nullcontext()

    async def resume(self) -> None:
        """Bring the session back."""
        await self.desk.resume(self.state.session_id)

    async def new_session(self) -> None:
        """Open another session and go there."""
        await self.desk.new_session()

    def withdraw(self, message: Message) -> bool:
        """Take a queued message back; False when its turn has begun already."""
        return self._session.withdraw(message.message_id)

    def edit_queued(self, message: Message) -> None:
        """Take a queued message back into the input field."""
        if self.withdraw(message) and self.composer is not None:
            self.composer.restore(message.text)

    def answer(
        self,
        request: OpenRequest,
        decision: Literal["allow", "deny"],
        *,
        message: str | None = None,
        answers: dict[str, str] | None = None,
    ) -> None:
        """Answer a request of the agent."""
        with Told():
            self._session.answer(request.request_id, decision, message=message, answers=answers)


class Told:
    """A block whose errors are told to the person whose page this is; what follows the block goes on."""

    def __enter__(self) -> None:
        self._client = context.client

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if not isinstance(error, ClaudePatternError):
            return False
        if not self._client.is_deleted:
            with self._client:
                notices.tell(error)
        return True


def address(session_id: str) -> str:
    """Where a session is shown."""
    return f"/chat/{session_id}"
