"""Which processes belong to a marker, and which process is which: no process is started or signalled here."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from claude_pattern.process import identity as identities
from claude_pattern.process import reap
from claude_pattern.process.identity import ProcessIdentity, Seen
from claude_pattern.process.reap import EndReport, members

OURS = "instance.session.1-2-3"
OTHER = "instance.another.1-2-4"
SERVER = 100


def process(pid: int, parent: int, marker: str | None = None, *, zombie: bool = False) -> Seen:
    return Seen(pid, parent, 1000 + pid, marker, zombie)


def found(*processes: Seen, marker: str = OURS, known: tuple[Seen, ...] = ()) -> set[int]:
    table = {seen.pid: seen for seen in (process(1, 0), process(SERVER, 1), *processes)}
    return {seen.pid for seen in members(table, marker, known={seen.key for seen in known}, own_pid=SERVER)}


class TestMembers:
    def test_all_descendants_belong_to_the_process_with_the_marker(self) -> None:
        assert found(process(200, SERVER, OURS), process(201, 200), process(202, 201), process(300, SERVER)) == {
            200,
            201,
            202,
        }

    def test_an_escaped_process_is_known_by_its_marker_and_brings_its_children(self) -> None:
        assert found(process(201, 1, OURS), process(202, 201)) == {201, 202}

    def test_a_process_that_dropped_the_marker_is_still_a_descendant(self) -> None:
        assert found(process(200, SERVER, OURS), process(201, 200, None)) == {200, 201}

    def test_another_marker_is_never_touched_nor_what_it_started(self) -> None:
        assert found(
            process(200, SERVER, OURS), process(201, 200, OTHER), process(202, 201), process(203, 1, OTHER)
        ) == {200}

    def test_this_process_is_never_touched_even_inside_the_tree(self) -> None:
        table = {seen.pid: seen for seen in (process(200, 1, OURS), process(SERVER, 200, OURS), process(300, SERVER))}
        assert {seen.pid for seen in members(table, OURS, own_pid=SERVER)} == {200}

    def test_own_children_without_the_marker_are_not_touched(self) -> None:
        assert found(process(200, SERVER), process(201, SERVER, OTHER)) == set()

    def test_zombies_are_left_out(self) -> None:
        assert found(process(200, SERVER, OURS), process(201, 200, zombie=True)) == {200}

    def test_what_was_a_member_before_still_brings_its_children(self) -> None:
        orphan = process(201, 1)
        assert found(orphan, process(202, 201), known=(orphan,)) == {201, 202}

    def test_a_reused_id_is_not_the_member_that_had_it(self) -> None:
        orphan = process(201, 1)
        assert found(replace(orphan, start_ticks=9), known=(orphan,)) == set()

    def test_no_marker_matches_nothing(self) -> None:
        assert found(process(200, SERVER, ""), process(201, SERVER, None), marker="") == set()

    def test_a_circle_of_parents_ends(self) -> None:
        assert found(process(200, 201, OURS), process(201, 200)) == {200, 201}


class TestIsSame:
    @pytest.fixture
    def recorded(self, monkeypatch: pytest.MonkeyPatch) -> ProcessIdentity:
        monkeypatch.setattr(identities, "look", {200: process(200, SERVER, OURS)}.get)
        return ProcessIdentity(200, 1200, identities.boot_id(), OURS)

    def test_all_four_marks_together_make_the_process(self, recorded: ProcessIdentity) -> None:
        assert identities.is_same(recorded)

    @pytest.mark.parametrize(
        "change", [{"pid": 201}, {"start_ticks": 1201}, {"boot_id": "another boot"}, {"marker": OTHER}, {"marker": ""}]
    )
    def test_one_wrong_mark_makes_it_another_process(
        self, recorded: ProcessIdentity, change: dict[str, int | str]
    ) -> None:
        assert not identities.is_same(replace(recorded, **change))  # type: ignore[arg-type]

    def test_a_zombie_is_not_running(self, recorded: ProcessIdentity, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(identities, "look", {200: process(200, SERVER, OURS, zombie=True)}.get)
        assert not identities.is_same(recorded)
        assert identities.identify(200, OURS) is None

    def test_a_process_that_hides_its_environment_is_not_taken_for_ours(
        self, recorded: ProcessIdentity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(identities, "look", {200: process(200, SERVER, None)}.get)
        assert not identities.is_same(recorded)


class TestMarker:
    def test_it_tells_instance_and_session_and_is_new_each_time(self) -> None:
        first, second = (identities.new_marker("instance", "se.ssion") for _ in range(2))
        assert first != second
        assert first.startswith("instance.se.ssion.")
        assert ProcessIdentity(1, 1, "", first).session_id == "se.ssion"

    def test_the_own_server_is_not_elsewhere(self) -> None:
        assert not identities.starter_lives_elsewhere(identities.new_marker("instance", "session"))

    def test_another_running_server_is_told_from_a_dead_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        marker = f"instance.session.{SERVER}-1100-abc"
        monkeypatch.setattr(identities, "look", {SERVER: process(SERVER, 1)}.get)
        assert identities.starter_lives_elsewhere(marker)
        monkeypatch.setattr(identities, "look", {SERVER: replace(process(SERVER, 1), start_ticks=5)}.get)
        assert not identities.starter_lives_elsewhere(marker)
        monkeypatch.setattr(identities, "look", {}.get)
        assert not identities.starter_lives_elsewhere(marker)

    def test_a_marker_of_another_form_has_no_living_server(self) -> None:
        assert not identities.starter_lives_elsewhere("instance.session")
        assert not identities.starter_lives_elsewhere("")


class TestLook:
    def test_both_ways_of_looking_see_this_process_alike(self) -> None:
        by_proc, by_psutil = identities.look_in_proc(os.getpid()), identities.look_with_psutil(os.getpid())
        assert by_proc is not None
        assert by_psutil is not None
        assert replace(by_proc, start_ticks=0) == replace(by_psutil, start_ticks=0)
        assert by_proc.parent == os.getppid()

    @pytest.mark.parametrize("look", [identities.look_in_proc, identities.look_with_psutil])
    def test_an_id_without_a_process_is_none(self, look: identities.Look) -> None:
        assert look(2**22 + 1) is None

    def test_a_scan_sees_this_process_and_its_parent(self) -> None:
        assert {os.getpid(), os.getppid()} <= identities.scan().keys()


def test_a_system_that_does_not_name_its_boots_has_an_empty_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert identities.boot_id.__wrapped__() == ""


def test_reports_add_up() -> None:
    assert EndReport((1,), (2,), (3,)) + EndReport((4,), (), (5,)) == EndReport((1, 4), (2,), (3, 5))
    assert EndReport((1,), (2,), (3,)).ended == (1, 2)


def test_a_process_that_is_gone_has_no_tree() -> None:
    assert reap.tree(ProcessIdentity(2**22 + 1, 1, identities.boot_id(), OURS)) == ()


async def test_a_sweep_of_processes_that_are_gone_ends_nothing() -> None:
    gone = [ProcessIdentity(2**22 + number, 1, identities.boot_id(), f"{OURS}{number}") for number in range(3)]
    assert await reap.sweep(gone) == EndReport()
