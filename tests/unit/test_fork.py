"""A fork begins with exactly what had been said up to its point, and with nothing of the original's own affairs."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from claude_pattern import errors, events
from claude_pattern.process import transcripts
from claude_pattern.sessions import fork
from claude_pattern.sessions.journal import Entry, Journals
from claude_pattern.sessions.state import SessionState

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
OLD, NEW = str(uuid4()), str(uuid4())
ONE, TWO, THREE = (str(uuid4()) for _ in range(3))
LOG: tuple[events.AnySessionEvent, ...] = (
    events.SessionUpdated(status="active", source="pre-warmed"),  # 1
    events.TurnStarted(message_id=ONE, text="one"),  # 2
    events.MessageQueued(message_id=TWO, text="two"),  # 3
    events.MessageQueued(message_id=THREE, text="three"),  # 4
    events.StreamDelta(delta="first"),  # 5
    events.ResponseComplete(cost_usd=0.5, turn_count=1, total_cost_usd=0.5),  # 6
    events.SessionRestarting(reason="memory", message="Restarted."),  # 7
    events.TurnStarted(message_id=TWO, text="two"),  # 8
    events.StreamDelta(delta="second"),  # 9
    events.StreamInterrupted(),  # 10
    events.SessionWarning(reason="duration", message="Soon."),  # 11
    events.SessionTerminated(reason="user_requested", message="Ended."),  # 12
)


def entries(log: tuple[events.AnySessionEvent, ...] = LOG) -> tuple[Entry, ...]:
    return tuple(
        Entry(AT, event.model_copy(update={"session_id": OLD, "seq": seq})) for seq, event in enumerate(log, 1)
    )


def said(branch: fork.Branch) -> list[tuple[str, str, str]]:
    state = SessionState(NEW, AT, AT)
    for entry in branch.entries:
        state.apply(entry.event, entry.at)
    return [(message.role, message.status, message.text) for message in state.messages]


def test_a_whole_fork_has_the_conversation_and_its_own_id_and_numbers() -> None:
    made = fork.branch(entries(), NEW, until_seq=len(LOG))

    assert said(made) == [
        ("user", "complete", "one"),
        ("assistant", "complete", "first"),
        ("user", "complete", "two"),
        ("assistant", "interrupted", "second"),
    ]
    assert {entry.event.session_id for entry in made.entries} == {NEW}
    assert [entry.event.seq for entry in made.entries] == list(range(1, len(made.entries) + 1))
    assert made.later == frozenset()


def test_a_fork_at_a_message_ends_with_its_answer() -> None:
    made = fork.branch(entries(), NEW, len(LOG), ONE)

    assert said(made) == [("user", "complete", "one"), ("assistant", "complete", "first")]
    assert made.later == {TWO}


def test_messages_that_wait_in_the_original_do_not_wait_in_the_fork() -> None:
    made = fork.branch(entries(), NEW, len(LOG))

    assert THREE not in {getattr(entry.event, "message_id", None) for entry in made.entries}


def test_a_turn_is_paid_once() -> None:
    made = fork.branch(entries(), NEW, len(LOG))
    (end,) = (entry.event for entry in made.entries if isinstance(entry.event, events.ResponseComplete))

    assert (end.cost_usd, end.total_cost_usd) == (0.5, 0.0)


def test_a_turn_that_begins_while_the_fork_is_made_is_later() -> None:
    made = fork.branch(entries(), NEW, until_seq=6)

    assert said(made) == [("user", "complete", "one"), ("assistant", "complete", "first")]
    assert made.later == {TWO}


def test_a_turn_without_an_end_ends_where_the_next_one_begins() -> None:
    log = (*LOG[1:2], *LOG[4:5], *LOG[7:10])
    made = fork.branch(entries(log), NEW, len(log), ONE)

    assert [entry.event.type for entry in made.entries] == ["turn_started", "stream_delta"]


@pytest.mark.parametrize("message_id", ["", "x", THREE])
def test_only_a_message_that_the_model_has_had_is_a_place_to_fork(message_id: str) -> None:
    with pytest.raises(errors.MessageNotFound):
        fork.branch(entries(), NEW, len(LOG), message_id)


@pytest.mark.parametrize(
    ("original", "expected"),
    [(None, None), ("Notes", "Notes (fork)"), ("Notes (fork)", "Notes (fork)"), ("x" * 200, "x" * 193 + " (fork)")],
)
def test_the_title_tells_a_fork_from_its_original(original: str | None, expected: str | None) -> None:
    assert fork.title(original, 200) == expected


# ---------------------------------------------------------------- the files


def line(kind: str, uuid: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **({"uuid": uuid} if uuid else {}), "sessionId": OLD, **more}


TRANSCRIPT = (
    line("queue-operation", content="one"),
    line("user", ONE, message={"content": f'"uuid":"{TWO}" and "sessionId":"{OLD}"'}),
    line("assistant", str(uuid4())),
    line("system", str(uuid4()), subtype="compact_boundary"),
    line("user", str(uuid4()), isCompactSummary=True),
    line("queue-operation", content="two"),
    line("user", TWO, message={"content": "two"}),
    line("assistant", str(uuid4())),
)


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "claude" / "projects" / "-work"
    folder.mkdir(parents=True)
    text = "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in TRANSCRIPT)
    (folder / f"{OLD}.jsonl").write_text(text + '{"type":"user","uuid":"torn')
    return tmp_path / "claude"


def forked(config_dir: Path, **how: Any) -> list[dict[str, Any]]:
    path = transcripts.find(config_dir, OLD)
    assert path is not None
    new = transcripts.fork(path, transcripts.read(path), NEW, **how)
    assert new == transcripts.find(config_dir, NEW)
    assert new.stat().st_mode & 0o777 == 0o600
    return [json.loads(each) for each in new.read_text().splitlines()]


def test_a_transcript_is_copied_under_the_new_id_without_what_waits_and_what_is_torn(config_dir: Path) -> None:
    found = forked(config_dir)

    assert [each["type"] for each in found] == ["user", "assistant", "system", "user", "user", "assistant"]
    assert {each["sessionId"] for each in found} == {NEW}
    assert found[0]["message"] == TRANSCRIPT[1]["message"], "what people have written stays"


def test_a_transcript_is_cut_before_everything_of_a_later_message(config_dir: Path) -> None:
    assert [each["type"] for each in forked(config_dir, without={TWO, THREE})] == ["user", "assistant"]


def test_a_transcript_is_never_replaced(config_dir: Path) -> None:
    forked(config_dir)
    with pytest.raises(FileExistsError):
        forked(config_dir)


def test_a_session_without_transcript_has_none(tmp_path: Path) -> None:
    assert transcripts.find(tmp_path, OLD) is None


def test_a_transcript_without_the_awaited_answer_is_read_after_a_moment(
    config_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, "WRITTEN_WITHIN_S", 0.05)
    path = transcripts.find(config_dir, OLD)
    assert path is not None

    assert transcripts.read(path, TWO) == transcripts.read(path, THREE) == path.read_bytes()


def test_a_fork_that_cannot_be_written_leaves_nothing(config_dir: Path, tmp_path: Path) -> None:
    journals = Journals(tmp_path / "journal")
    journals.begin(OLD, entries())
    state = SessionState(OLD, AT, AT)
    (tmp_path / "journal" / f"{NEW}.jsonl").mkdir()
    with pytest.raises(OSError, match="directory"):
        fork.write(journals, config_dir, state, NEW, None, len(LOG))

    assert transcripts.find(config_dir, NEW) is None
