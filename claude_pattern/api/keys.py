"""Who may use the server: the API key, signed-in browsers and one-time sign-in codes.

A browser session is a random id with its start, signed: it outlives a restart of the server without being stored.
Signing out puts the id on a list on disk. The signature also covers the API key, so that a new key ends every session.
"""

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypedDict

import structlog
from itsdangerous import BadSignature, Signer

from claude_pattern import errors, timeouts
from claude_pattern.api.attempts import Attempts
from claude_pattern.api.limits import LOGIN_CODES
from claude_pattern.api.secretfile import read_or_create
from claude_pattern.api.signedout import SignedOut
from claude_pattern.logs import scrubber
from claude_pattern.settings import Settings

log = structlog.get_logger(__name__)

COOKIE = "claude_pattern_session"
_MAX_COOKIE_CHARS = 256
_API_KEY_FILE, _COOKIE_SECRET_FILE, _SIGNED_OUT_FILE = "api_key", "cookie_secret", "signed_out"


class CookieParams(TypedDict):
    """The keyword arguments of Starlette's `Response.set_cookie`."""

    httponly: bool
    samesite: Literal["lax", "strict", "none"]
    secure: bool
    path: str
    max_age: int


class Keys:
    """Checks keys, cookies and codes. Nothing here knows about requests."""

    def __init__(
        self,
        api_key: str,
        cookie_secret: str,
        signed_out: SignedOut,
        *,
        key_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
    ) -> None:
        self.attempts = Attempts(clock=clock)
        self.key_file = key_file
        """Where the API key was read from; None when the settings gave it."""
        self._digest = _digest(api_key)
        self._cookie_secret = cookie_secret
        self._signer = Signer(
            cookie_secret, salt=b"browser session " + self._digest, key_derivation="hmac", digest_method=sha256
        )
        self._signed_out = signed_out
        self._clock = clock
        self._now = now
        self._codes: OrderedDict[bytes, float] = OrderedDict()
        self._closing: dict[str, list[Callable[[], None]]] = {}

    def __repr__(self) -> str:
        return f"<Keys {len(self._codes)} open codes | {len(self._closing)} watched sessions>"

    @classmethod
    def load(cls, settings: Settings, data_dir: Path, now: Callable[[], float] | None = None) -> "Keys":
        """The keys of this installation: what the settings do not give is made once and kept in `data_dir`.

        Raises:
            ConfigurationError: a key file cannot be read, written or understood.
        """
        given = settings.claude_sdk_pattern_api_key
        key_file = None if given else data_dir / _API_KEY_FILE
        api_key = given.get_secret_value() if given else read_or_create(data_dir / _API_KEY_FILE)
        wall = now or (lambda: datetime.now(UTC).timestamp())
        try:
            signed_out = SignedOut(data_dir / _SIGNED_OUT_FILE, wall)
        except OSError as error:
            raise errors.ConfigurationError(f"DATA_DIR/{_SIGNED_OUT_FILE} cannot be read: {error.strerror}.") from None
        except ValueError:
            # Nobody knows who had signed out, so everybody has: a new secret ends all sessions.
            log.warning("signed_out_list_damaged", file=_SIGNED_OUT_FILE)
            (data_dir / _SIGNED_OUT_FILE).unlink()
            (data_dir / _COOKIE_SECRET_FILE).unlink(missing_ok=True)
            signed_out = SignedOut(data_dir / _SIGNED_OUT_FILE, wall)
        cookie_secret = read_or_create(data_dir / _COOKIE_SECRET_FILE)
        keys = cls(api_key, cookie_secret, signed_out, key_file=key_file, now=wall)
        scrubber.learn(api_key, cookie_secret, keys.storage_secret)
        return keys

    @property
    def storage_secret(self) -> str:
        """A secret of its own for NiceGUI's storage cookie, derived from the cookie secret."""
        return hmac.new(self._cookie_secret.encode(), b"nicegui storage", sha256).hexdigest()

    # ------------------------------------------------------------ the key

    def check(self, key: str | bytes) -> bool:
        """Whether this is the API key; takes the same time for every wrong one."""
        return hmac.compare_digest(_digest(key), self._digest)

    # ------------------------------------------------------------ browser sessions

    def open_session(self) -> str:
        """The cookie of a new browser session, valid for `timeouts.LOGIN_SESSION`."""
        return self._signer.sign(f"{secrets.token_urlsafe(24)}.{int(self._now())}").decode("ascii")

    def session_valid(self, cookie: str | None) -> bool:
        """Whether a cookie is signed by us, young enough and not signed out."""
        return self.session_left_s(cookie) > 0

    def session_left_s(self, cookie: str | None) -> float:
        """Seconds that a browser session has left, 0 for one that is not valid."""
        session = self._read(cookie)
        if session is None or session[0] in self._signed_out:
            return 0.0
        # A session from the future has our signature all the same: the machine's clock was set back.
        return max(0.0, timeouts.LOGIN_SESSION - max(0.0, self._now() - session[1]))

    def close_session(self, cookie: str | None) -> None:
        """Sign a browser out for good, also in its other tabs."""
        session = self._read(cookie)
        if session is None:
            return
        self._signed_out.add(session[0], session[1] + timeouts.LOGIN_SESSION)
        for callback in self._closing.pop(session[0], []):
            callback()

    def when_closed(self, cookie: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when this browser session is signed out; the returned function ends that."""
        session = self._read(cookie)
        if session is None:
            raise errors.Unauthorized
        callbacks = self._closing.setdefault(session[0], [])
        callbacks.append(callback)

        def stop() -> None:
            if callback in callbacks:
                callbacks.remove(callback)
            if not callbacks and self._closing.get(session[0]) is callbacks:
                del self._closing[session[0]]

        return stop

    def cookie_params(self, secure: bool) -> CookieParams:
        """How to set the cookie; `secure` when the browser speaks TLS.

        Lax, not Strict: a sign-in or session link that is opened from a chat or a mail must arrive signed in. No state
        changes by a GET, and everything else needs a same-origin Origin, which `guard` checks.
        """
        return CookieParams(httponly=True, samesite="lax", secure=secure, path="/", max_age=int(timeouts.LOGIN_SESSION))

    def _read(self, cookie: str | None) -> tuple[str, int] | None:
        if not cookie or len(cookie) > _MAX_COOKIE_CHARS or not cookie.isascii():
            return None
        try:
            session, _, started = self._signer.unsign(cookie).decode("ascii").partition(".")
            return session, int(started)
        except (BadSignature, ValueError):
            return None

    # ------------------------------------------------------------ one-time codes

    def login_code(self) -> str:
        """A code that signs in one browser, once, within `timeouts.LOGIN_CODE`."""
        code = secrets.token_urlsafe(32)
        scrubber.learn(code)
        self._codes[_digest(code)] = self._clock() + timeouts.LOGIN_CODE
        while len(self._codes) > LOGIN_CODES:
            self._codes.popitem(last=False)
        return code

    def redeem(self, code: str) -> bool:
        """Use up a one-time code; False when it is unknown, used or too old."""
        until = self._codes.pop(_digest(code), None)
        return until is not None and self._clock() < until

    # ------------------------------------------------------------ slowing down those who guess

    def attempt(self, address: str) -> None:
        """Count one sign-in attempt before its key or code is checked; `succeeded` takes it back.

        Raises:
            TooManyAttempts: the address has failed too often; nothing may be checked.
        """
        if self.attempts.wait_s(address):
            raise errors.TooManyAttempts
        self.attempts.count(address)

    def succeeded(self, address: str) -> None:
        """The attempt that was counted last was a good one."""
        self.attempts.take_back(address)

    def failed(self, address: str) -> None:
        """Count a failure that no `attempt` came before."""
        self.attempts.count(address)


def _digest(text: str | bytes) -> bytes:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return sha256(data).digest()
