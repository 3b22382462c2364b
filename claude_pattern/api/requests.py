"""What the guard looks at in a request: its headers, taken from the ASGI scope alone, never from a rebuilt address."""

import re
import secrets
from functools import cached_property
from urllib.parse import parse_qsl, quote

from starlette.types import Scope

from claude_pattern.api.keys import COOKIE

SOCKET_PATH = "/ws/v1/chat"
DOCS_PATH = "/api/docs"

OPEN_PATHS = frozenset({"/api/v1/health/live", "/api/v1/health/ready", "/login", "/logout", "/favicon.ico"})
"""Everybody may ask these. Whatever is not listed here or in `OPEN_FILES` needs a key or a signed-in browser."""

OPEN_FILES = re.compile(r"/static/[^\\]+")
"""Our own scripts and styles. NiceGUI's need the cookie: each fetch without one would make a user's storage."""

LIBRARY_FILES = re.compile(r"/_nicegui/[0-9][^/\\]*/(?:static|libraries|components|resources|esm)/[^\\]+")
"""NiceGUI's scripts and styles, the same for every user: caches may keep them."""

_NOT_PAGES = ("/api/", "/ws/", "/_nicegui")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_LOOKED_AT = frozenset(
    {
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"x-api-key",
        b"cookie",
        b"accept",
        b"content-length",
        b"x-request-id",
    }
)
_MAX_NEXT_CHARS = 2_000
_SIZE_DIGITS = 18


class Request:
    """One HTTP request or WebSocket handshake, as far as it matters for who may do what."""

    def __init__(self, scope: Scope) -> None:
        self.path: str = scope["path"]
        self.is_socket: bool = scope["type"] == "websocket"
        self.changes_state: bool = self.is_socket or scope["method"] not in _SAFE_METHODS
        self.query: bytes = scope.get("query_string", b"")
        self.address: str = (scope.get("client") or ("unknown",))[0]
        self._headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name in _LOOKED_AT:
                self._headers.setdefault(name, []).append(value)
        self._method: str = scope.get("method", "GET")

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a header."""
        return self._headers.get(name, [])

    @cached_property
    def request_id(self) -> bytes:
        """The client's X-Request-ID if it is harmless, else a new one."""
        values = self.all(b"x-request-id")
        if len(values) == 1 and _REQUEST_ID.fullmatch(values[0]):
            return values[0]
        return secrets.token_hex(8).encode("ascii")

    @property
    def fetch_site(self) -> bytes:
        """Where the browser says that the request comes from; empty when it says nothing."""
        values = self.all(b"sec-fetch-site")
        return values[0] if len(values) == 1 else b"cross-site" if values else b""

    @property
    def keys(self) -> list[bytes]:
        """The API keys that the client gives; a query parameter counts for our WebSocket alone."""
        given = self.all(b"x-api-key")
        if self.path == SOCKET_PATH and self.is_socket and not given:
            query = parse_qsl(self.query.decode("latin-1"), keep_blank_values=True, encoding="utf-8")
            given = [value.encode("utf-8", "surrogatepass") for name, value in query if name == "api_key"]
        return given

    @property
    def cookies(self) -> list[str]:
        """Every value of our cookie; another path or site of the same host may have set further ones."""
        pairs = b";".join(self.all(b"cookie")).decode("latin-1").split(";")
        split = (pair.strip().partition("=") for pair in pairs)
        return [value.strip('"') for name, _, value in split if name == COOKIE]

    @property
    def content_length(self) -> int:
        """The announced size of the body in bytes, 0 when nothing is announced."""
        values = self.all(b"content-length")
        return int(values[0][:_SIZE_DIGITS]) if values and values[0].isdigit() else 0

    @property
    def is_open(self) -> bool:
        """Whether everybody may ask this; a path that could mean another one after normalising never is."""
        if self.is_socket:
            return False
        return self.path in OPEN_PATHS or self._matches(OPEN_FILES)

    def _matches(self, files: re.Pattern[str]) -> bool:
        return files.fullmatch(self.path) is not None and not {"", ".", ".."} & set(self.path.split("/")[1:])

    @property
    def is_cacheable(self) -> bool:
        """Whether the response may stay in caches: files only."""
        return self._matches(OPEN_FILES) or self._matches(LIBRARY_FILES) or self.path == "/favicon.ico"

    @property
    def is_page(self) -> bool:
        """Whether a person opens a page with a browser, who is better led to the sign-in than told off in JSON."""
        if self._method not in ("GET", "HEAD") or (self.path.startswith(_NOT_PAGES) and self.path != DOCS_PATH):
            return False
        return any(b"text/html" in accept for accept in self.all(b"accept"))

    @property
    def login_address(self) -> str:
        """The sign-in page, which leads back to this page afterwards."""
        here = quote(self.path) + ("?" + self.query.decode("latin-1") if self.query else "")
        # Two slashes at the start would lead to another site.
        if len(here) > _MAX_NEXT_CHARS or not here.startswith("/") or here.startswith("//"):
            return "/login"
        return "/login?next=" + quote(here, safe="")
