"""Every time-out of the product by name, in seconds.

An await that can hang uses one of these; none stands as a bare number in the code.
"""

from typing import Final

MCP_STARTUP_WAIT: Final = 1.5
"""How long the first turn waits for an MCP server that is still starting (the CLI's own default has no bound)."""

MCP_SETTLE: Final = 20.0
"""How long a pooled client may keep MCP servers pending before it is handed out all the same."""

CONTROL: Final = 5.0
"""One control request to a healthy CLI answers in about 30 ms, also while it streams."""

INTERRUPT_REPEAT: Final = 0.25
"""An interrupt sent within 2 ms of its query is ignored by the CLI, so it is repeated until the result arrives."""

INTERRUPT_RESULT: Final = 1.5
"""How long a stopped turn may take to deliver its aborted result before the process is given up; it takes 10 ms."""

STREAM_IDLE: Final = 30.0
"""How long the CLI waits for the next piece of a streaming answer before it asks again."""

STALLED: Final = 90.0
"""A turn whose service has said nothing for this long is ended as interrupted; people are told after 15 s."""

DISCONNECT: Final = 6.0
"""An idle CLI disconnects in 40 ms; a busy or deaf one costs the SDK 5 s before it sends SIGTERM."""

TERMINATE: Final = 5.0
"""Between SIGTERM and SIGKILL to what is left of a process tree."""

KILL: Final = 2.0
"""How long the kernel may take to remove a killed process."""

QUERY_GRACE: Final = 30.0
"""How long a shutdown waits for queries in flight."""

DATABASE_BUSY: Final = 10.0
"""How long a writer waits for another writer of the same SQLite file."""

LOGIN_CODE: Final = 600.0
"""The one-time login link printed at start works this long."""

LOGIN_SESSION: Final = 12 * 3600.0
"""A browser stays signed in this long."""

POOL_BACKOFF_FIRST: Final = 1.0
POOL_BACKOFF_LIMIT: Final = 60.0
"""Pause after a failed start of a pooled client: doubled from the first to the limit, with jitter."""
