"""A stand-in for the server: starts the given command, prints {"server": pid, "child": pid, "identity": ...}, stays.

It survives Ctrl+C, as the server does; its child keeps the default answer to that. What the child prints goes to
stderr, which both share.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

from claude_pattern.process.reap import identify, new_marker


def main(command: list[str]) -> None:
    # A shell starts what runs in its background with SIGINT ignored, and everything below it inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    marker = new_marker("starter", "session")
    environment = {**os.environ, "CLAUDE_PATTERN_MARKER": marker}
    child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    signal.signal(signal.SIGINT, lambda *_: None)
    identity = identify(child.pid, marker)
    assert identity is not None
    print(json.dumps({"server": os.getpid(), "child": child.pid, "identity": asdict(identity)}), flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1:])
