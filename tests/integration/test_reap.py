"""Ending process trees: real processes, all of them started here."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from claude_pattern import timeouts
from claude_pattern.process import identity as identities
from claude_pattern.process import reap
from claude_pattern.process.identity import ProcessIdentity

PROGRAMS = Path(__file__).parent.parent / "programs"
GRACE = 0.3
INSTANCE = f"reap{os.getpid()}"
PATIENCE_S = 10.0
PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Family:
    """A running tests/programs/family.py: its identity, and the processes in it by name."""

    identity: ProcessIdentity
    process: subprocess.Popen[str]
    pids: dict[str, int]

    def alive(self) -> set[str]:
        return {name for name, pid in self.pids.items() if runs(pid)}


def runs(pid: int) -> bool:
    seen = identities.look(pid)
    return seen is not None and not seen.zombie


def eventually(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.01)


def kill_marked(marker: str) -> None:
    """Clean up what a failed test has left; by the marker that this test has made."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(identities.MARKER_VARIABLE) == marker:
                process.kill()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Family]]:
    """Starts families; whatever a test leaves of them is killed afterwards."""
    families: list[Family] = []

    def start(*kinds: str) -> Family:
        marker = reap.new_marker(INSTANCE, f"family{len(families)}")
        process = subprocess.Popen(
            [sys.executable, "-S", str(PROGRAMS / "family.py"), *kinds],
            env={**os.environ, identities.MARKER_VARIABLE: marker, "FAMILY_BRED": str(tmp_path / "bred")},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        pids = json.loads(process.stdout.readline())
        process.stdout.close()
        identity = reap.identify(process.pid, marker)
        assert identity is not None
        families.append(Family(identity, process, pids))
        return families[-1]

    yield start
    for family in families:
        kill_marked(family.identity.marker)
        for pid in family.pids.values():
            if family.process.pid != pid and runs(pid):
                os.kill(pid, signal.SIGKILL)
        family.process.kill()
        family.process.wait()


class TestEndTree:
    async def test_the_process_and_all_it_started_end(self, start: Callable[..., Family]) -> None:
        family = start("child")
        assert {member.pid for member in reap.tree(family.identity)} == set(family.pids.values())
        report = await reap.end_tree(family.identity)
        assert set(report.terminated) == set(family.pids.values())
        assert (report.killed, report.left) == ((), ())
        assert family.alive() == set()
        assert not reap.is_same(family.identity)

    async def test_what_ignores_sigterm_is_killed_after_the_grace(self, start: Callable[..., Family]) -> None:
        family = start("stubborn", "child")
        begin = time.monotonic()
        report = await reap.end_tree(family.identity, grace=GRACE)
        assert time.monotonic() - begin >= GRACE
        assert report.killed == (family.pids["stubborn"],)
        assert set(report.ended) == set(family.pids.values())
        assert family.alive() == set()

    async def test_what_escaped_or_lost_its_environment_ends_too(self, start: Callable[..., Family]) -> None:
        family = start("escaped", "nameless")
        report = await reap.end_tree(family.identity, grace=GRACE)
        assert set(report.ended) == set(family.pids.values())
        assert family.alive() == set()

    async def test_a_stopped_process_ends_within_the_grace(self, start: Callable[..., Family]) -> None:
        family = start("stopped")
        eventually(lambda: psutil.Process(family.pids["stopped"]).status() == psutil.STATUS_STOPPED)
        report = await reap.end_tree(family.identity, grace=PATIENCE_S)
        assert set(report.terminated) == set(family.pids.values())

    async def test_what_is_started_as_an_answer_to_sigterm_is_found_and_killed(
        self, start: Callable[..., Family], tmp_path: Path
    ) -> None:
        family = start("breeder")
        report = await reap.end_tree(family.identity, grace=PATIENCE_S)
        bred = int((tmp_path / "bred").read_text())
        assert bred in report.killed
        assert not runs(bred)

    async def test_a_process_with_another_marker_lives_on(self, start: Callable[..., Family]) -> None:
        family = start("foreign", "child")
        report = await reap.end_tree(family.identity, grace=GRACE)
        assert family.alive() == {"foreign"}
        assert family.pids["foreign"] not in report.ended

    async def test_what_a_dead_process_left_behind_is_ended(self, start: Callable[..., Family]) -> None:
        family = start("child", "escaped")
        family.process.kill()
        family.process.wait()
        assert family.alive() == {"child", "grandchild", "escaped"}
        report = await reap.end_tree(family.identity, grace=GRACE)
        assert family.alive() == set()
        assert len(report.ended) == 3

    async def test_a_process_is_found_by_its_marker_alone(self, start: Callable[..., Family]) -> None:
        family = start("child")
        report = await reap.end_marked(family.identity.marker)
        assert set(report.ended) == set(family.pids.values())

    async def test_ending_again_finds_nothing_and_is_quick(self, start: Callable[..., Family]) -> None:
        family = start("child")
        await reap.end_tree(family.identity)
        begin = time.monotonic()
        assert await reap.end_tree(family.identity) == reap.EndReport()
        assert time.monotonic() - begin < timeouts.TERMINATE

    async def test_many_callers_at_once_end_it_once(self, start: Callable[..., Family]) -> None:
        family = start("child", "stubborn", "escaped")
        reports = await asyncio.gather(*(reap.end_tree(family.identity, grace=GRACE) for _ in range(10)))
        assert family.alive() == set()
        assert all(report.left == () for report in reports)

    async def test_a_cancelled_caller_leaves_the_work_running(self, start: Callable[..., Family]) -> None:
        family = start("stubborn", "child")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(GRACE / 3):
                await reap.end_tree(family.identity, grace=GRACE)
        assert "stubborn" in family.alive()
        ends = time.monotonic() + PATIENCE_S
        while family.alive():
            assert time.monotonic() < ends
            await asyncio.sleep(0.01)

    async def test_two_families_do_not_touch_each_other(self, start: Callable[..., Family]) -> None:
        first, second = start("child", "escaped"), start("child", "escaped")
        await reap.end_tree(first.identity)
        assert first.alive() == set()
        assert second.alive() == set(second.pids)

    async def test_no_file_descriptor_is_left(self, start: Callable[..., Family]) -> None:
        family = start("child", "stubborn")
        await reap.end_tree(replace(family.identity, marker="warm.up.1-1-1"))
        before = set(Path("/proc/self/fd").iterdir())
        await reap.end_tree(family.identity, grace=GRACE)
        assert set(Path("/proc/self/fd").iterdir()) <= before

    async def test_it_works_without_pidfd(self, start: Callable[..., Family], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "pidfd_open")
        family = start("child", "stubborn", "escaped")
        report = await reap.end_tree(family.identity, grace=GRACE)
        assert set(report.ended) == set(family.pids.values())
        assert family.alive() == set()

    async def test_it_works_without_proc(self, start: Callable[..., Family], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.setattr(identities, "look", identities.look_with_psutil)
        monkeypatch.setattr(reap, "look", identities.look_with_psutil)
        family = start("child", "stubborn", "escaped")
        assert reap.is_same(family.identity)
        report = await reap.end_tree(family.identity, grace=GRACE)
        assert set(report.ended) == set(family.pids.values())
        assert family.alive() == set()


class TestOtherProcessesStay:
    @pytest.mark.parametrize("change", [{"marker": "somebody.else.1-1-1"}, {"marker": "", "boot_id": "another boot"}])
    async def test_an_identity_with_a_wrong_mark_ends_nothing(
        self, start: Callable[..., Family], change: dict[str, str]
    ) -> None:
        family = start("child")
        wrong = replace(family.identity, **change)  # type: ignore[arg-type]
        assert not reap.is_same(wrong)
        assert await reap.end_tree(wrong, grace=GRACE) == reap.EndReport()
        assert await reap.sweep([wrong], grace=GRACE) == reap.EndReport()
        assert family.alive() == set(family.pids)

    async def test_a_reused_id_is_not_touched(self) -> None:
        """A record of an earlier process, whose id an unrelated process has now."""
        with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]) as unrelated:
            now = reap.identify(unrelated.pid, "server.gone.1-1-1")
            assert now is not None
            assert await reap.end_tree(now, grace=GRACE) == reap.EndReport()
            assert await reap.sweep([now, replace(now, start_ticks=1)], grace=GRACE) == reap.EndReport()
            assert unrelated.poll() is None
            unrelated.kill()

    async def test_a_signal_does_not_reach_a_process_that_took_over_the_id(self, start: Callable[..., Family]) -> None:
        family = start()
        seen = identities.look(family.process.pid)
        assert seen is not None
        assert reap.Held.take(replace(seen, start_ticks=seen.start_ticks - 1)) is None
        held = reap.Held.take(seen)
        assert held is not None
        family.process.kill()
        family.process.wait()
        assert not held.alive()
        held.send(signal.SIGTERM)
        held.close()
        assert reap.Held.take(seen) is None


class TestExitCodes:
    @pytest.mark.parametrize("known", [True, False])
    async def test_the_exit_code_stays_for_the_loop_that_started_the_process(self, known: bool) -> None:
        marker = reap.new_marker(INSTANCE, "loop")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-S",
            "-c",
            "import time; time.sleep(60)",
            env={**os.environ, identities.MARKER_VARIABLE: marker},
        )
        identity = reap.identify(process.pid, marker)
        assert identity is not None
        await (reap.end_tree(identity) if known else reap.end_marked(marker))
        assert await process.wait() == -signal.SIGTERM

    async def test_an_exit_code_that_nobody_waits_for_is_collected(self, start: Callable[..., Family]) -> None:
        family = start()
        await reap.end_tree(family.identity)
        assert identities.look(family.process.pid) is None

    async def test_adopted_processes_leave_no_zombies(self, start: Callable[..., Family]) -> None:
        """As in a container, where the server is the parent of everything that lost its own."""
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        try:
            family = start("escaped", "child")
            assert psutil.Process(family.pids["escaped"]).ppid() == os.getpid()
            await reap.end_tree(family.identity)
            assert {name: identities.look(pid) for name, pid in family.pids.items()} == dict.fromkeys(family.pids)
        finally:
            libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
            for child in psutil.Process().children():  # those that the escape itself left on its way
                if child.status() == psutil.STATUS_ZOMBIE:
                    child.wait()


class TestSweep:
    @pytest.fixture
    def server(self) -> Iterator[tuple[subprocess.Popen[str], ProcessIdentity]]:
        """A server process that has started an agent process, and what it has recorded of it."""
        command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
        server = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "starter.py"), *command], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        identity = ProcessIdentity(**json.loads(server.stdout.readline())["identity"])
        server.stdout.close()
        yield server, identity
        server.kill()
        server.wait()
        kill_marked(identity.marker)

    async def test_what_a_killed_server_left_is_ended(
        self, server: tuple[subprocess.Popen[str], ProcessIdentity]
    ) -> None:
        process, identity = server
        process.kill()
        process.wait()
        assert reap.is_same(identity)
        gone = replace(identity, pid=2**22 + 1, marker="server.gone.1-1-1")
        report = await reap.sweep([gone, identity])
        assert report.ended == (identity.pid,)
        assert not reap.is_same(identity)

    async def test_the_processes_of_a_server_that_still_runs_are_left_alone(
        self, server: tuple[subprocess.Popen[str], ProcessIdentity]
    ) -> None:
        _, identity = server
        assert await reap.sweep([identity]) == reap.EndReport()
        assert reap.is_same(identity)

    async def test_everything_of_one_server_run_can_be_found(self, start: Callable[..., Family]) -> None:
        family = start("child", "foreign")
        own = {found.pid for found in reap.started_by(INSTANCE)}
        assert own == {family.pids[name] for name in ("root", "child", "grandchild")}
        assert reap.started_by(INSTANCE[:-1]) == ()
