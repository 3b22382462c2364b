"""A process that starts children in every way that makes them hard to find or to end; prints {name: pid} when all run.

Arguments: any of
    child       an ordinary child, which has a child of its own
    stubborn    ignores SIGTERM
    escaped     double fork and a session of its own: adopted by another parent
    nameless    starts with an empty environment
    foreign     carries another marker
    breeder     answers SIGTERM by starting another process, then ends
    stopped     sends itself SIGSTOP
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MARKER = "CLAUDE_PATTERN_MARKER"


def run(kind: str, report: int, **options: object) -> subprocess.Popen[bytes]:
    """Start this file again as `kind`; the grandchild may tell its pids on `report`."""
    command = [sys.executable, "-S", __file__, "--be", kind, str(report)]
    return subprocess.Popen(command, pass_fds=[report], **options)  # type: ignore[call-overload,no-any-return]


def tell(report: int, name: str) -> None:
    os.write(report, f"{name} {os.getpid()}\n".encode())


def breed(report: int) -> None:
    subprocess.Popen([sys.executable, "-S", __file__, "--be", "bred", str(report)], start_new_session=True)
    time.sleep(0.2)
    os._exit(0)


def escape() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)


def be(kind: str, report: int) -> None:
    if kind == "escaped":
        escape()
    if kind in ("stubborn", "bred"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind == "breeder":
        signal.signal(signal.SIGTERM, lambda *_: breed(report))
    if kind == "child":
        run("grandchild", report)
    if kind == "bred":
        Path(os.environ["FAMILY_BRED"]).write_text(str(os.getpid()))
    else:
        tell(report, kind)
    if kind == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        time.sleep(60)


def main(kinds: list[str]) -> None:
    reader, writer = os.pipe()
    for kind in kinds:
        environment = {} if kind == "nameless" else {**os.environ, MARKER: "other"} if kind == "foreign" else None
        run(kind, writer, env=environment, start_new_session=kind in ("stubborn", "foreign"))
    expected = len(kinds) + ("child" in kinds)
    pids = {"root": os.getpid()}
    with os.fdopen(reader) as lines:
        while len(pids) <= expected:
            name, pid = lines.readline().split()
            pids[name] = int(pid)
    print(json.dumps(pids), flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--be"]:
        be(sys.argv[2], int(sys.argv[3]))
    else:
        main(sys.argv[1:])
