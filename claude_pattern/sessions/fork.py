"""A fork: another session that begins with what has been said in this one, as a whole or up to one answer.

The fork's journal tells of the conversation alone: that the original was ended or restarted, what it has cost and
which messages wait there is its own affair.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from claude_pattern.errors import MessageNotFound
from claude_pattern.events import (
    TURN_END,
    AnySessionEvent,
    MessageQueued,
    MessageWithdrawn,
    ResponseComplete,
    SessionRestarting,
    SessionTerminated,
    SessionWarning,
    TurnStarted,
)
from claude_pattern.process import transcripts
from claude_pattern.sessions.journal import Entry, Journals
from claude_pattern.sessions.state import SessionState

SUFFIX = " (fork)"

_OF_THE_ORIGINAL = (SessionTerminated, SessionRestarting, SessionWarning)


class Branch(NamedTuple):
    """What a fork begins with, and the user messages of the original that come later."""

    entries: tuple[Entry, ...]
    later: frozenset[str]


def branch(entries: Sequence[Entry], new_id: str, until_seq: int, at_message: str | None = None) -> Branch:
    """The entries up to number `until_seq`, or up to the end of the turn of user message `at_message`, as the fork's.

    Raises:
        MessageNotFound: there is no such message among them, or the model has not had it yet.
    """
    until = until_seq if at_message is None else _end_of(at_message, entries, until_seq)
    kept = [entry for entry in entries if entry.event.seq <= until]
    begun = {entry.event.message_id for entry in kept if isinstance(entry.event, TurnStarted)}
    later = {e.event.message_id for e in entries if isinstance(e.event, TurnStarted) and e.event.seq > until}
    told = [Entry(entry.at, _for_fork(entry.event)) for entry in kept if _belongs(entry.event, begun)]
    return Branch(
        tuple(
            Entry(at, event.model_copy(update={"session_id": new_id, "seq": seq}))
            for seq, (at, event) in enumerate(told, 1)
        ),
        frozenset(later),
    )


def _end_of(message_id: str, entries: Iterable[Entry], until_seq: int) -> int:
    last: int | None = None
    for _, event in entries:
        if event.seq > until_seq or (last is not None and isinstance(event, TurnStarted)):
            break
        if last is not None or (isinstance(event, TurnStarted) and event.message_id == message_id):
            last = event.seq
            if isinstance(event, TURN_END):
                break
    if last is None:
        raise MessageNotFound
    return last


def _belongs(event: AnySessionEvent, begun: set[str]) -> bool:
    if isinstance(event, MessageQueued | MessageWithdrawn):
        return event.message_id in begun
    return not isinstance(event, _OF_THE_ORIGINAL)


def _for_fork(event: AnySessionEvent) -> AnySessionEvent:
    # The fork's process counts from zero, and a sum over sessions must not count a turn twice.
    return event.model_copy(update={"total_cost_usd": 0.0}) if isinstance(event, ResponseComplete) else event


def title(original: str | None, max_chars: int) -> str | None:
    """The title of a fork, so that it is told from the original."""
    if original is None or original.endswith(SUFFIX):
        return original
    return original[: max_chars - len(SUFFIX)] + SUFFIX


def write(
    journals: Journals, config_dir: Path, original: SessionState, new_id: str, at_message: str | None, until_seq: int
) -> tuple[Entry, ...]:
    """Write the fork's transcript and journal and return the entries of the latter. Blocking: call it in a thread.

    Raises:
        MessageNotFound: the original has no user message `at_message` before number `until_seq`.
        OSError: a file cannot be written.
    """
    path = transcripts.find(config_dir, original.session_id)
    content = transcripts.read(path, _answered(original)) if path is not None else b""
    # After the transcript: a message is in the journal before the CLI hears of it, so whatever came is known here.
    made = branch(tuple(journals.of(original.session_id).read()), new_id, until_seq, at_message)
    try:
        if path is not None:
            transcripts.fork(path, content, new_id, without=made.later)
        journals.begin(new_id, made.entries)
    except OSError:
        discard(journals, config_dir, new_id)
        raise
    return made.entries


def discard(journals: Journals, config_dir: Path, new_id: str) -> None:
    """Remove the files of a fork that did not come to life. Blocking."""
    if (found := transcripts.find(config_dir, new_id)) is not None:
        found.unlink(missing_ok=True)
    journals.remove(new_id)


def _answered(state: SessionState) -> str | None:
    """The last user message, if its turn has ended well: its answer belongs in the transcript."""
    for message in reversed(state.messages):
        if message.role == "assistant":
            return message.message_id.removeprefix("answer-") if message.status == "complete" else None
    return None
