"""What was written is read again in order; a crash in the middle of a line costs that line alone."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from claude_pattern import events
from claude_pattern.sessions.journal import Entry, Journals

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ID = str(uuid4())


def delta(seq: int) -> events.StreamDelta:
    return events.StreamDelta(session_id=ID, seq=seq, delta=f"word{seq} ")


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return Journals(tmp_path / "journal")


def test_events_are_read_as_they_were_written_with_their_time(journals: Journals) -> None:
    journal = journals.of(ID)
    for seq in (1, 2, 3):
        journal.append(delta(seq), AT)
    journal.close()

    assert list(journals.of(ID).read()) == [Entry(AT, delta(seq)) for seq in (1, 2, 3)]


def test_what_is_written_can_be_read_before_the_file_is_closed(journals: Journals) -> None:
    journal = journals.of(ID)
    journal.append(delta(1), AT)

    assert len(list(journals.of(ID).read())) == 1
    journal.close()


def test_a_session_without_events_has_an_empty_journal(journals: Journals) -> None:
    assert list(journals.of(ID).read()) == []


def test_a_torn_line_is_left_out_and_the_next_one_starts_anew(journals: Journals, tmp_path: Path) -> None:
    journal = journals.of(ID)
    journal.append(delta(1), AT)
    journal.append(delta(2), AT)
    journal.close()
    path = tmp_path / "journal" / f"{ID}.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again = journals.of(ID)
    again.append(delta(3), AT)
    again.close()

    assert [entry.event.seq for entry in journals.of(ID).read()] == [1, 3]


@pytest.mark.parametrize(
    "garbage", [b"\x00\x00\x00", b"not json", b'{"at": 1}', b'{"at":1,"event":{"type":"nope"}}', b"[]"]
)
def test_a_line_that_means_nothing_is_left_out(journals: Journals, tmp_path: Path, garbage: bytes) -> None:
    journal = journals.of(ID)
    journal.append(delta(1), AT)
    journal.close()
    path = tmp_path / "journal" / f"{ID}.jsonl"
    path.write_bytes(garbage + b"\n" + path.read_bytes())

    assert [entry.event.seq for entry in journals.of(ID).read()] == [1]


def test_only_this_user_can_read_it(journals: Journals, tmp_path: Path) -> None:
    journal = journals.of(ID)
    journal.append(delta(1), AT)
    journal.close()

    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "journal" / f"{ID}.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "x", "a/b"])
def test_an_id_that_could_lead_elsewhere_is_refused(journals: Journals, name: str) -> None:
    with pytest.raises(ValueError, match="badly formed"):
        journals.of(name)


async def test_securing_is_possible_at_any_time(journals: Journals) -> None:
    journal = journals.of(ID)
    await journal.secure()
    journal.append(delta(1), AT)
    await journal.secure()
    journal.close()
    journal.close()


def test_a_journal_can_begin_with_many_entries_and_be_removed(journals: Journals) -> None:
    fork = str(uuid4())
    journals.begin(fork, [Entry(AT, delta(seq)) for seq in (1, 2)])

    assert list(journals.of(fork).read()) == [Entry(AT, delta(seq)) for seq in (1, 2)]
    for _ in range(2):
        journals.remove(fork)
        assert list(journals.of(fork).read()) == []


async def test_a_session_may_end_while_its_journal_is_being_secured(journals: Journals) -> None:
    journal = journals.of(ID)
    journal.append(delta(1), AT)
    securing = [asyncio.ensure_future(journal.secure()) for _ in range(5)]  # noqa: TID251 - the senders' side
    await asyncio.sleep(0)
    journal.close()

    await asyncio.gather(*securing)
