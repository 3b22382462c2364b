"""Sizes and rates of the web interface; the time-outs stand in `claude_pattern.timeouts`."""

from typing import Final

MAX_BODY_BYTES: Final = 1024 * 1024
"""Largest body of an HTTP request."""

MAX_FRAME_BYTES: Final = 1024 * 1024
"""Largest frame that a WebSocket client may send; a larger one closes the connection with 1009."""

MAX_CONNECTIONS: Final = 1_000
"""WebSocket connections at once; one more is closed with 1013."""

OUTBOX_FRAMES: Final = 64
"""Frames that wait for one WebSocket client; behind it the session's subscription holds 1,000 events more."""

OPERATIONS: Final = 8
"""Requests of one WebSocket connection that are worked on at once; further ones wait unread in the network."""

MESSAGES_BURST: Final = 100
MESSAGES_PER_SECOND: Final = 20
"""A client that sends faster than this for longer than the burst is read more slowly."""

ATTEMPTS: Final = 10
"""Wrong keys that one address may try in `ATTEMPT_WINDOW_S` seconds."""

ATTEMPT_WINDOW_S: Final = 60.0

ATTEMPT_ADDRESSES: Final = 4_096
"""Addresses that the limiter remembers; the longest silent one makes room."""

LOGIN_CODES: Final = 16
"""One-time sign-in codes that are open at once; the oldest makes room."""

RETRY_AFTER_S: Final = 5
"""What a 503 answer asks a client to wait."""
