"""A stand-in for the CLI: prints what it was given as JSON, one line, and stays if its first argument is "stay"."""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    environment = [entry for entry in Path("/proc/self/environ").read_bytes().split(b"\0") if entry]
    told = {
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "session": os.getsid(0),
        "arguments": sys.argv[1:],
        "environment": {
            os.fsdecode(name): os.fsdecode(value) for name, _, value in (entry.partition(b"=") for entry in environment)
        },
    }
    print(json.dumps(told), flush=True)
    while sys.argv[1:2] == ["stay"]:
        time.sleep(60)


if __name__ == "__main__":
    main()
