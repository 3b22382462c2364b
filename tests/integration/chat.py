"""A client of the WebSocket that keeps everything it hears, for synchronous tests."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.integration.conftest import KEY, Server

Frame = dict[str, Any]

NOT_EVENTS = ("session_list", "session_creating", "session_ready", "session_history", "message_received", "error")
TURN_ENDS = ("response_complete", "stream_error", "stream_interrupted")


class Gone(Exception):
    """The connection has ended before what was waited for has come."""


class Chat:
    """A client of the WebSocket that keeps every frame in `frames`, in the order in which they came."""

    def __init__(self, server: Server) -> None:
        address = f"{server.url.replace('http', 'ws', 1)}/ws/v1/chat"
        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(
            connect(address, additional_headers={"X-API-Key": KEY}, max_size=None, proxy=None)
        )
        self.frames: list[Frame] = []
        self.closed = False
        self._sent = 0
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._reader.join()

    @property
    def close_code(self) -> int | None:
        return self._socket.close_code

    def _read(self) -> None:
        try:
            for text in self._socket:
                with self._news:
                    self.frames.append(json.loads(text))
                    self._news.notify_all()
        except ConnectionClosed:
            pass
        finally:
            with self._news:
                self.closed = True
                self._news.notify_all()

    def cut(self) -> None:
        """Break the connection as a network does: without a word."""
        with contextlib.suppress(OSError):
            self._socket.socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()

    def send(self, kind: str, session_id: str, **fields: Any) -> None:
        """Send one message.

        Raises:
            Gone: the server has left.
        """
        try:
            self._socket.send(json.dumps({"type": kind, "session_id": session_id, **fields}))
        except ConnectionClosed:
            raise Gone from None

    def wait(self, wanted: Callable[[Frame], bool], *, after: int = 0, seconds: float = 30.0) -> Frame:
        """The first frame behind the first `after` that is wanted, for which at most so many seconds are waited.

        Raises:
            Gone: the connection has ended without it.
        """
        ends = time.monotonic() + seconds
        place = after
        with self._news:
            while True:
                for frame in self.frames[place:]:
                    if wanted(frame):
                        return frame
                place = max(place, len(self.frames))
                if self.closed:
                    raise Gone
                assert self._news.wait(ends - time.monotonic()), f"nothing came, the last was {self.frames[-1:]}"

    def say(self, session_id: str, text: str) -> bool:
        """Send a user message; whether the server has acknowledged it (and not refused)."""
        self._sent += 1
        number, place = self._sent, len(self.frames)
        self.send("user_message", session_id, text=text, seq=number)
        answers = (("message_received", number), ("error", None))
        return bool(
            self.wait(lambda f: (f["type"], f.get("seq")) in answers, after=place)["type"] == "message_received"
        )

    def turn(self, session_id: str, text: str) -> Frame:
        """Send a message and wait for the end of its turn, which is given back."""
        place = len(self.frames)
        assert self.say(session_id, text), self.frames[place:]
        return self.wait(lambda f: f["type"] in TURN_ENDS and f["session_id"] == session_id, after=place)

    def history(self, session_id: str) -> list[Frame]:
        """The conversation of a session as the server tells it."""
        place = len(self.frames)
        self.send("switch_session", session_id)
        told = self.wait(lambda f: f["type"] == "session_history" and f["session_id"] == session_id, after=place)
        return list(told["messages"])

    def replay(self, session_id: str, last: int) -> list[Frame]:
        """Every event of a session, from its first to number `last`."""
        place = len(self.frames)
        self.send("switch_session", session_id, last_seq=0)
        self.wait(
            lambda f: f["type"] not in NOT_EVENTS and (f["session_id"], f["seq"]) == (session_id, last), after=place
        )
        return self.events(session_id, after=place)

    def events(self, session_id: str, *, after: int = 0) -> list[Frame]:
        """The session's events that have come, behind the first `after` frames."""
        return [f for f in self.frames[after:] if is_event(f, session_id)]


def is_event(frame: Frame, session_id: str) -> bool:
    """Whether a frame is an event of that session, and not an answer to this connection."""
    return frame["type"] not in NOT_EVENTS and frame["session_id"] == session_id
