"""Which process is which: four marks that together belong to one process only, and one look at all processes.

A process id alone is reused, a start time repeats after a reboot, and a marker in the environment is inherited by
every child; so a process counts as ours only when id, start time, boot and marker all match.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

MARKER_VARIABLE = "CLAUDE_PATTERN_MARKER"
"""In the environment of every agent process; all that it starts inherits it."""

EXEC_RETRIES = 100
"""For some microseconds of its exec a process has no environment; one look takes about 10 microseconds."""

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD: no environment, ever


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process and no other.

    `start_ticks` is the start in clock ticks since boot (Linux) or in microseconds since 1970 (elsewhere); `boot_id`
    names the boot, or is empty where start times need none; `marker` is empty in a process that has no marker.
    """

    pid: int
    start_ticks: int
    boot_id: str
    marker: str

    @property
    def session_id(self) -> str:
        """The session that the process was started for."""
        return self.marker.partition(".")[2].rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a process told; `marker` is None when it has none or hides its environment."""

    pid: int
    parent: int
    start_ticks: int
    marker: str | None
    zombie: bool

    @property
    def key(self) -> tuple[int, int]:
        """Names the process among all of this boot."""
        return self.pid, self.start_ticks


def new_marker(instance_id: str, session_id: str) -> str:
    """A marker that no other process has had: ``<instance id>.<session id>.<this server process>-<random>``.

    Unique for each process and not only for each session: what ends a session's old process must not take the new one
    with it. The last part names this server process, so that a later one can tell whether it still runs.
    """
    own = look(os.getpid())
    return f"{instance_id}.{session_id}.{os.getpid()}-{own.start_ticks if own else 0}-{secrets.token_hex(4)}"


def identify(pid: int, marker: str) -> ProcessIdentity | None:
    """The marks of the running process `pid`, to be recorded; None when there is no such process any more."""
    seen = look(pid)
    if seen is None or seen.zombie:
        return None
    return ProcessIdentity(pid, seen.start_ticks, boot_id(), marker)


def is_same(identity: ProcessIdentity) -> bool:
    """Whether the process still runs: id, start time, boot and marker all match. Takes about 30 microseconds."""
    seen = look(identity.pid)
    return (
        seen is not None
        and not seen.zombie
        and bool(identity.marker)
        and (seen.start_ticks, boot_id(), seen.marker) == (identity.start_ticks, identity.boot_id, identity.marker)
    )


def started_by(instance_id: str) -> tuple[ProcessIdentity, ...]:
    """Every running process that carries a marker of server instance `instance_id`; blocks for some milliseconds."""
    return tuple(
        ProcessIdentity(seen.pid, seen.start_ticks, boot_id(), seen.marker)
        for seen in scan().values()
        if seen.marker is not None and seen.marker.partition(".")[0] == instance_id
    )


def starter_lives_elsewhere(marker: str) -> bool:
    """Whether the server process that made `marker` still runs and is not this one."""
    try:
        pid, ticks, _ = marker.rpartition(".")[2].split("-")
        seen = look(int(pid))
        return seen is not None and not seen.zombie and seen.pid != os.getpid() and seen.start_ticks == int(ticks)
    except ValueError:
        return False


@cache
def boot_id() -> str:
    """The kernel's name of this boot; empty where start times are absolute and tell boots apart by themselves."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def scan() -> dict[int, Seen]:
    """All processes that can be seen; 100 of them take about 2 ms, so call it in a thread."""
    return {pid: seen for pid in psutil.pids() if (seen := look(pid)) is not None}


def look_in_proc(pid: int) -> Seen | None:
    """One process as Linux shows it, None when it is gone or hidden from this user."""
    try:
        # "pid (name) state parent ...", where the name may hold anything; flags are field 9, the start time field 22.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        zombie = fields[0] in (b"Z", b"X")
        marker = None if zombie or int(fields[6]) & _KERNEL_THREAD else _marker(pid)
        return Seen(pid, int(fields[1]), int(fields[19]), marker, zombie)
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return None


def _marker(pid: int) -> str | None:
    environ = b""
    try:
        for _ in range(EXEC_RETRIES):
            if environ := Path(f"/proc/{pid}/environ").read_bytes():
                break
    except PermissionError:
        return None
    found = (b"\0" + environ).partition(f"\0{MARKER_VARIABLE}=".encode())[2].partition(b"\0")[0]
    return os.fsdecode(found) or None


def look_with_psutil(pid: int) -> Seen | None:
    """One process as psutil shows it on systems without /proc, None when it is gone."""
    try:
        process = psutil.Process(pid)
        start = round(process.create_time() * 1_000_000)
        parent, zombie = process.ppid(), process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    try:
        marker = process.environ().get(MARKER_VARIABLE) or None
    except (psutil.Error, OSError):
        marker = None
    return Seen(pid, parent, start, marker, zombie)


Look = Callable[[int], Seen | None]
look: Look = look_in_proc if Path("/proc/self/stat").exists() else look_with_psutil
