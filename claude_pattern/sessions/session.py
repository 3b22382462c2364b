"""One live session: one process, one turn at a time, and the only ways to reach it (send, interrupt, answer).

Everything that happens becomes an event, takes its number here, changes the state and goes to the subscribers, in
that order and in one synchronous step, so that nobody ever sees half of it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

import structlog
from claude_agent_sdk import (
    Message,
    PermissionResult,
    PermissionResultAllow,
    PermissionResultDeny,
    ResultMessage,
    SystemMessage,
    ToolPermissionContext,
)
from pydantic_core import PydanticSerializationError

from claude_pattern import errors, events, tasks, timeouts
from claude_pattern.events import MAX_MESSAGE_CHARS, TURN_END, AnySessionEvent, RequestKind
from claude_pattern.process.agent import AgentProcess
from claude_pattern.sessions.feed import Feed, Subscription
from claude_pattern.sessions.journal import SessionJournal
from claude_pattern.sessions.pulse import Pulse
from claude_pattern.sessions.state import SessionState
from claude_pattern.sessions.translate import Translator
from claude_pattern.sessions.wellformed import wellformed

log = structlog.get_logger(__name__)

_KINDS: dict[str, RequestKind] = {"AskUserQuestion": "question", "ExitPlanMode": "plan"}
PLAN_ONLY = "This session is in plan mode: nothing is changed before the plan has been approved. Go on planning."

MAX_RESTARTS = 3
RESTART_WINDOW_S = 60.0
"""A session whose process dies more often than this is ended instead of restarted."""

SETTLE_POLL_S = 0.1

SERVER_STOPPED = "The server was stopped. The conversation is kept; the next message resumes it."

Reaction = Callable[["Session"], Coroutine[Any, Any, None]]
"""What the manager does about a session: wake an ended one, replace a process that is lost or deaf."""


@dataclass(slots=True, eq=False)
class Turn:
    """A user message that the model works on; `seen_running` once the CLI has said so."""

    message_id: str
    done: asyncio.Event = field(default_factory=asyncio.Event)
    seen_running: bool = False
    failure: errors.Explanation | None = None


@dataclass(slots=True, eq=False)
class _Waiting:
    """A permission request and the future of its answer."""

    request_id: str
    tool_input: dict[str, Any]
    answer: "asyncio.Future[PermissionResult]"
    message: str | None = None


class Session:
    """A live session. The manager makes it, gives it processes and ends it."""

    def __init__(
        self,
        state: SessionState,
        *,
        journal: SessionJournal,
        on_lost: Reaction,
        on_deaf: Reaction,
        wake: Reaction,
        log: Iterable[AnySessionEvent] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = state
        self.feed = Feed(state.seq, log)
        self.ended = state.status == "terminated"
        self.waking = asyncio.Lock()
        self._journal = journal
        self._on_lost = on_lost
        self._on_deaf = on_deaf
        self._wake = wake
        self._translator = Translator(now=now, total_cost_usd=state.total_cost_usd)
        self._agent: AgentProcess | None = None
        self._turn: Turn | None = None
        self._queue = deque((m.message_id, m.text) for m in state.messages if m.status == "queued")
        self._waiting: dict[str, _Waiting] = {}
        self.pulse = Pulse(now)
        self._draining = False
        self._restarts: list[float] = []
        self._now = now

    def __repr__(self) -> str:
        turn = "busy" if self._turn else "free"
        return f"<Session {self.session_id} {self.state.status} {turn} | {len(self._queue)} queued>"

    @property
    def session_id(self) -> str:
        """The session's id, a UUID; the CLI's transcript has the same."""
        return self.state.session_id

    @property
    def agent(self) -> AgentProcess | None:
        """The process that serves the session at present."""
        return self._agent

    async def attach(self, agent: AgentProcess) -> None:
        """Serve the session by `agent` from now on, also one that had ended."""
        if self.ended:
            self.pulse = Pulse(self._now)
        self.ended = self._draining = False
        self._agent = self.state.client = agent
        self.state.options = agent.options
        self.state.pid = agent.pid
        await agent.bind(on_message=self._on_message, on_end=self._on_end, ask=self._ask)

    # ------------------------------------------------------------ what people do

    async def send(self, text: str, *, queue: bool = False) -> str:
        """Give the model a user message and return the message's id; from then on nothing loses it.

        Raises:
            InvalidMessage: empty after trimming, or longer than MAX_MESSAGE_CHARS.
            QueryInProgress: a turn is running; with `queue` the message waits for its end instead.
            ProcessFailed: the process is gone, or a new one did not start.
            SessionNotResumable, CapacityExceeded: the session had ended and cannot come back (now).
        """
        check_text(text)
        if self.ended:
            await self._wake(self)
        message_id = str(uuid4())
        if self._turn is not None or self._draining or self.state.status == "restarting":
            if not queue:
                raise errors.QueryInProgress
            self._queue.append((message_id, text))
            self.emit(events.MessageQueued(message_id=message_id, text=text))
            await self._journal.secure()
        else:
            await self._start_turn(message_id, text)
        return message_id

    def withdraw(self, message_id: str) -> bool:
        """Take back a queued message; False when its turn has begun or it was never queued."""
        for entry in self._queue:
            if entry[0] == message_id:
                self._queue.remove(entry)
                self.emit(events.MessageWithdrawn(message_id=message_id))
                return True
        return False

    async def retry(self) -> str:
        """Send the last user message again and return the new message's id.

        Raises:
            InvalidMessage: there is no message yet.
            QueryInProgress: a turn is running.
        """
        for message in reversed(self.state.messages):
            if message.role == "user" and message.status != "queued":
                return await self.send(message.text)
        raise errors.InvalidMessage("There is no message to send again.")

    async def interrupt(self) -> bool:
        """Stop the running turn and return when it has ended; False when there was none.

        A process that does not end the turn within `timeouts.INTERRUPT_RESULT` is given up: stop always stops.
        """
        if self._turn is None:
            return False
        if not await self._interrupted():
            await self._on_deaf(self)
        return True

    async def _interrupted(self) -> bool:
        """Stop the running turn; False when the process has not answered. The turn has ended in both cases.

        An interrupt within 2 ms of its query is ignored by the CLI, so it is repeated.
        """
        turn, agent = self._turn, self._agent
        if turn is None or agent is None:
            return True
        try:
            async with asyncio.timeout(timeouts.INTERRUPT_RESULT):
                while not turn.done.is_set():
                    await agent.interrupt()
                    await _wait(turn.done, timeouts.INTERRUPT_REPEAT)
        except TimeoutError:
            log.warning("interrupt_unanswered", session_id=self.session_id, pid=agent.pid)
            if self._turn is turn:
                self._end_turn(events.StreamInterrupted())
            return False
        return True

    def answer(
        self,
        request_id: str,
        decision: Literal["allow", "deny"],
        *,
        message: str | None = None,
        answers: dict[str, str] | None = None,
    ) -> None:
        """Answer a permission request, a question (`answers` by question text) or a plan; the first answer counts.

        Raises:
            RequestNotFound: it has been answered or withdrawn already.
        """
        waiting = self._waiting.get(request_id)
        if waiting is None or waiting.answer.done():
            raise errors.RequestNotFound
        waiting.message = message
        if decision == "allow":
            updated = {**waiting.tool_input, "answers": answers} if answers is not None else waiting.tool_input
            waiting.answer.set_result(PermissionResultAllow(updated_input=updated))
        else:
            refusal = message or "The user does not want this. Ask what to do instead."
            waiting.answer.set_result(PermissionResultDeny(message=refusal))

    async def rename(self, title: str) -> None:
        """Give the session a title; works for an ended one as well."""
        async with self.waking:  # an ended session's journal must not be closed under one that comes back
            self.emit(events.SessionUpdated(title=title))
            await self._journal.secure()
            if self.ended:
                self._journal.close()

    def subscribe(self, after_seq: int | None = None) -> Subscription:
        """The session's events after number `after_seq`; None: from now on."""
        return self.feed.subscribe(after_seq)

    # ------------------------------------------------------------ the one way of events

    def emit(self, event: AnySessionEvent) -> None:
        """Number an event, write it down, apply it to the state and hand it out."""
        numbered = event.model_copy(update={"session_id": self.session_id, "seq": self.state.seq + 1})
        at = datetime.now(UTC)
        try:
            self._journal.append(numbered, at)
        except PydanticSerializationError:
            numbered = wellformed(numbered)
            self._journal.append(numbered, at)
        self.pulse.note(numbered)
        self.state.apply(numbered, at)
        self.feed.publish(numbered)

    async def _on_message(self, message: Message) -> None:
        self.pulse.heard()
        if isinstance(message, SystemMessage) and message.subtype == "session_state_changed":
            await self._cli_state(message.data.get("state"))
            return
        if isinstance(message, ResultMessage) and not self._is_ours(message):
            self._translator.feed(message)  # takes in the cost; the turn that a person waits for goes on
            return
        for event in self._translator.feed(message):
            if isinstance(event, TURN_END):
                self._end_turn(event)
                await self._next_turn()
            else:
                self.emit(event)
        if self._turn and message_kind(message) == "authentication_failed":
            self._fail_fast(errors.api_failure(401))

    def _is_ours(self, result: ResultMessage) -> bool:
        """Whether a result ends the turn of our message, not one that the CLI started by itself."""
        answered = result.user_message_uuids
        return self._turn is None or answered is None or self._turn.message_id in answered

    async def _cli_state(self, cli_state: Any) -> None:
        turn = self._turn
        if turn is None:
            return
        if cli_state == "running":
            turn.seen_running = True
        elif cli_state == "idle" and turn.seen_running:
            # Idle without a result: nothing more will come for this turn.
            self._fail_turn(errors.api_failure(None))
            await self._next_turn()

    # ------------------------------------------------------------ turns

    async def _start_turn(self, message_id: str, text: str) -> None:
        agent = self._agent
        if agent is None:
            raise errors.ProcessFailed
        # Taken before the first await: two senders at once must not both find the session free.
        self._turn = Turn(message_id)
        self.emit(events.TurnStarted(message_id=message_id, text=text))
        try:
            # Both at once: the message has been written before; that it outlasts the machine delays no answer.
            await asyncio.gather(agent.send(text, message_id), self._journal.secure())
        except errors.ProcessFailed as error:
            self._fail_turn(errors.friendly(error))
            if not self.ended:
                tasks.spawn(self._on_lost(self), name=f"lost-{self.session_id}")
            raise

    def _end_turn(self, event: AnySessionEvent) -> None:
        turn, self._turn = self._turn, None
        self._cancel_requests()
        if turn is not None and turn.failure is not None:
            event = self._failed(turn.failure)
        self.emit(event)
        if turn is not None:
            turn.done.set()

    def _fail_turn(self, explanation: errors.Explanation) -> None:
        if self._turn is not None:
            self._end_turn(self._failed(explanation))

    def _failed(self, explanation: errors.Explanation) -> events.StreamError:
        last = self.state.messages[-1] if self.state.messages else None
        return events.StreamError(
            error=explanation.message,
            partial_preserved=bool(last and last.role == "assistant" and last.text),
            suggested_action=explanation.action,
            code=explanation.code,
        )

    def _fail_fast(self, explanation: errors.Explanation) -> None:
        """End a turn that cannot succeed: the CLI would repeat a refused key for minutes."""
        if self._turn is not None and self._turn.failure is None:
            self._turn.failure = explanation
            tasks.spawn(self.interrupt(), name=f"fail-fast-{self.session_id}")

    async def _next_turn(self) -> None:
        if self._turn is None and self._queue and not (self.ended or self._draining):
            message_id, text = self._queue.popleft()
            await self._start_turn(message_id, text)

    # ------------------------------------------------------------ permission

    async def _ask(self, tool: str, tool_input: dict[str, Any], context: ToolPermissionContext) -> PermissionResult:
        kind = _KINDS.get(tool, "permission")
        if kind == "permission" and self.state.permission_mode == "plan":
            return PermissionResultDeny(message=PLAN_ONLY)
        waiting = _Waiting(str(uuid4()), tool_input, asyncio.get_running_loop().create_future())
        self._waiting[waiting.request_id] = waiting
        self.emit(
            events.PermissionRequest(
                request_id=waiting.request_id,
                kind=kind,
                tool=tool,
                tool_use_id=context.tool_use_id,
                input=tool_input,
                title=context.title or context.description,
                reason=context.decision_reason,
            )
        )
        try:
            result = await waiting.answer
        except asyncio.CancelledError:
            self._resolve(waiting, "cancelled")
            raise
        self._resolve(waiting, result.behavior)
        return result

    def _resolve(self, waiting: _Waiting, decision: events.Decision) -> None:
        if self._waiting.pop(waiting.request_id, None) is not None:
            self.emit(
                events.PermissionResolved(request_id=waiting.request_id, decision=decision, message=waiting.message)
            )

    def _cancel_requests(self) -> None:
        for waiting in tuple(self._waiting.values()):
            self._resolve(waiting, "cancelled")
            waiting.answer.cancel()

    # ------------------------------------------------------------ the end

    async def _on_end(self, exit_code: int | None) -> None:
        """The process ended by itself."""
        if self.ended:
            return
        log.warning("process_lost", session_id=self.session_id, pid=self.state.pid, exit_code=exit_code)
        self._fail_turn(errors.process_failure(exit_code))
        await self._on_lost(self)

    def may_restart(self) -> bool:
        """Whether another process may be started: not when they die faster than anybody could use them."""
        now = self._now()
        self._restarts = [moment for moment in self._restarts if now - moment < RESTART_WINDOW_S] + [now]
        return not self.ended and len(self._restarts) <= MAX_RESTARTS

    def drain(self) -> None:
        """Start no further turn: the session is about to end. Messages wait and are sent when it comes back."""
        self._draining = True

    def fail(self, explanation: errors.Explanation) -> None:
        """End the running turn, if there is one, as failed."""
        self._fail_turn(explanation)

    async def stop(self, explanation: errors.Explanation) -> None:
        """Stop the running turn, if there is one, and give `explanation` as the reason."""
        if self._turn is not None:
            self._turn.failure = explanation
            await self._interrupted()

    async def settled(self) -> None:
        """Wait for the end of the running turn, unless it waits for a person."""
        while (turn := self._turn) is not None and not self._waiting:
            await _wait(turn.done, SETTLE_POLL_S)

    async def resumed(self) -> None:
        """A new process has taken over: go on with what waits."""
        await self._next_turn()

    async def close(self, reason: str, message: str, *, resume_url: str | None = None) -> None:
        """Stop the running turn, end the process and say so; returns when nothing of the process is left.

        Messages that wait stay with the session and are sent when it comes back.
        """
        if self.ended:
            return
        self.ended = True
        answered = await self._interrupted()
        if self._agent is not None:
            await self._agent.close(kill=not answered)
        self._fail_turn(errors.process_failure(None))
        self.emit(events.SessionTerminated(reason=reason, message=message, resume_url=resume_url))
        self._agent = self.state.client = self.state.pid = None
        await self._journal.secure()
        self._journal.close()

    def recover(self) -> None:
        """Bring a session that was read from its journal to rest: whatever was under way ended with its server."""
        for request_id in tuple(self.state.requests):
            self.emit(events.PermissionResolved(request_id=request_id, decision="cancelled"))
        if self.state.is_query_active:
            self.emit(self._failed(errors.api_failure(None)))
        if self.state.status != "terminated":
            self.emit(
                events.SessionTerminated(
                    reason="server_stopped", message=SERVER_STOPPED, resume_url=f"/chat?resume={self.session_id}"
                )
            )
        self.ended = True
        self._journal.close()


def check_text(text: str) -> None:
    """Refuse a message that breaks the rules of the wire contract.

    Raises:
        InvalidMessage: empty after trimming, or longer than MAX_MESSAGE_CHARS.
    """
    if not text.strip():
        raise errors.InvalidMessage("Message is empty")
    if len(text) > MAX_MESSAGE_CHARS:
        raise errors.InvalidMessage(f"Message exceeds {MAX_MESSAGE_CHARS:,} character limit")


def message_kind(message: Message) -> str | None:
    """The CLI's word for a failure that it is retrying, None for any other message."""
    if isinstance(message, SystemMessage) and message.subtype == "api_retry":
        return message.data.get("error")
    return None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
