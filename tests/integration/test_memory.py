"""Memory of process trees: real processes that take as much as they are told, all of them started here."""

import contextlib
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

from claude_pattern.process import memory
from claude_pattern.process.identity import MARKER_VARIABLE, ProcessIdentity, Seen, identify, new_marker, scan
from claude_pattern.process.machine import ThisMachine
from claude_pattern.process.memory import is_stopped, tree_memory, trees_memory

INSTANCE = f"memory{os.getpid()}"
SLACK_MIB = 15
"""What a Python process takes by itself, and what it shares."""

PROGRAM = """
import json, os, sys, time
own, shared_with, escaped = map(int, sys.argv[1:])
block = b"x" * (own << 20)                  # written, so that it takes memory
pids = {"root": os.getpid()}
for number in range(shared_with):           # children that read the same pages
    if not (pid := os.fork()):
        time.sleep(600)
    pids[f"child{number}"] = pid
if escaped:                                 # adopted by another parent, with memory of its own
    reader, writer = os.pipe()
    if not os.fork():
        os.setsid()
        if os.fork():
            os._exit(0)
        block = b"y" * (escaped << 20)
        os.write(writer, str(os.getpid()).encode())
        time.sleep(600)
    os.wait()
    pids["escaped"] = int(os.read(reader, 20))
print(json.dumps(pids), flush=True)
time.sleep(600)
"""


@dataclass
class Tree:
    """A running PROGRAM: its identity, and the processes in it by name."""

    identity: ProcessIdentity
    process: subprocess.Popen[str]
    pids: dict[str, int]


def eventually(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def start() -> Iterator[Callable[..., Tree]]:
    """Starts trees: MiB of the root, children that share them, MiB of a process that has escaped."""
    trees: list[Tree] = []

    def start(own: int, shared_with: int = 0, escaped: int = 0) -> Tree:
        marker = new_marker(INSTANCE, f"tree{len(trees)}")
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", PROGRAM, str(own), str(shared_with), str(escaped)],
            env={**os.environ, MARKER_VARIABLE: marker},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        pids = json.loads(process.stdout.readline())
        process.stdout.close()
        identity = identify(process.pid, marker)
        assert identity is not None
        trees.append(Tree(identity, process, pids))
        return trees[-1]

    yield start
    for tree in trees:
        for pid in tree.pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        tree.process.wait()


def test_a_trees_memory_is_that_of_all_its_processes_even_escaped_ones(start: Callable[..., Tree]) -> None:
    tree = start(60, escaped=40)

    assert tree_memory(tree.identity) == pytest.approx(100, abs=SLACK_MIB)


def test_what_the_processes_of_a_tree_share_counts_once(start: Callable[..., Tree]) -> None:
    tree = start(80, shared_with=4)
    resident_mib = sum(psutil.Process(pid).memory_info().rss for pid in tree.pids.values()) / 2**20

    assert resident_mib > 5 * 80
    assert tree_memory(tree.identity) == pytest.approx(80, abs=SLACK_MIB)


def test_many_trees_take_one_look_at_the_processes(start: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def count() -> dict[int, Seen]:
        nonlocal looks
        looks += 1
        return scan()

    monkeypatch.setattr(memory, "scan", count)
    small, big = start(10), start(120)
    found = trees_memory([small.identity, big.identity])

    assert looks == 1
    assert found[small.identity] == pytest.approx(10, abs=SLACK_MIB)
    assert found[big.identity] == pytest.approx(120, abs=SLACK_MIB)


def test_a_tree_of_which_nothing_runs_has_no_memory(start: Callable[..., Tree]) -> None:
    tree, other = start(10), start(10)
    foreign = replace(other.identity, marker="somebody.else.1-1-1")
    tree.process.kill()
    tree.process.wait()

    assert tree_memory(tree.identity) is None
    assert set(trees_memory([tree.identity, other.identity, foreign])) == {other.identity}


def test_a_process_that_goes_during_the_look_is_left_out(
    start: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = start(60, escaped=40)

    def look_then_kill() -> dict[int, Seen]:
        seen = scan()
        os.kill(tree.pids["escaped"], signal.SIGKILL)
        eventually(lambda: not psutil.pid_exists(tree.pids["escaped"]) or gone(tree.pids["escaped"]))
        return seen

    monkeypatch.setattr(memory, "scan", look_then_kill)
    assert tree_memory(tree.identity) == pytest.approx(60, abs=SLACK_MIB)


def gone(pid: int) -> bool:
    """Dead, though nobody may have collected its exit code."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_a_process_that_hides_its_shares_counts_with_its_resident_size(
    start: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = start(80, shared_with=2)
    monkeypatch.setattr(memory, "process_memory", memory.memory_with_psutil)

    found = tree_memory(tree.identity)
    assert found is not None
    assert found > 3 * 80


def test_a_look_that_is_refused_falls_back_to_the_resident_size(
    start: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = start(80)
    resident = memory.memory_with_psutil(tree.identity.pid)

    def refuse(path: Path) -> bytes:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert memory.memory_in_proc(tree.identity.pid) == resident
    assert resident is not None
    assert resident > 80 * 2**20


@pytest.mark.parametrize("look", [memory.is_stopped, memory.is_stopped_with_psutil])
def test_a_stopped_process_is_told_from_a_running_and_a_dead_one(
    start: Callable[..., Tree], look: Callable[[int], bool]
) -> None:
    pid = start(1).identity.pid
    assert not look(pid)

    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: look(pid))
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: not look(pid))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not look(pid)
    assert memory.memory_in_proc(pid) is None


async def test_this_machine_measures_finds_stopped_ones_and_ends_only_orphans(start: Callable[..., Tree]) -> None:
    wanted, orphan = start(50), start(1, shared_with=1)
    machine = ThisMachine(INSTANCE, lambda: {wanted.identity.marker})
    assert (await machine.memory([wanted.identity]))[wanted.identity] == pytest.approx(50, abs=SLACK_MIB)

    os.kill(wanted.identity.pid, signal.SIGSTOP)
    eventually(lambda: is_stopped(wanted.identity.pid))
    assert await machine.stopped([wanted.identity, orphan.identity]) == [wanted.identity]

    await machine.sweep()
    assert set(trees_memory([wanted.identity, orphan.identity])) == {wanted.identity}
