"""Which Host and Origin headers this server answers to: the defence against DNS rebinding and foreign pages.

Pure functions of the header's bytes. Whatever is not understood is refused.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence

from claude_pattern.errors import ConfigurationError
from claude_pattern.settings import Settings

LOOPBACK_NAMES = ("localhost",)

_HOST = re.compile(rb"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Hosts:
    """The names of this server.

    `configured` are the operator's ALLOWED_HOSTS: only they may also be the Origin of a request that carries another
    Host, as behind a proxy that replaces the header. `implied` names are accepted as Host alone. Ports do not matter.

    Raises:
        ConfigurationError: a configured name is not a host name.
    """

    def __init__(self, configured: Iterable[str] = (), implied: Iterable[str] = LOOPBACK_NAMES) -> None:
        self._configured = frozenset(map(_configured, configured))
        self._names = self._configured | {name.lower() for name in implied}

    def __repr__(self) -> str:
        return f"<Hosts {', '.join(sorted(self._names))}>"

    @classmethod
    def of(cls, settings: Settings) -> "Hosts":
        """The names that the settings allow, loopback names, the machine's own name and the name that is bound."""
        return cls(settings.allowed_hosts, (*LOOPBACK_NAMES, socket.gethostname(), settings.host))

    def accepts(self, host_headers: Sequence[bytes]) -> bool:
        """Whether a request with these Host headers is meant for this server; IP addresses always are.

        An attacker can make a name of theirs point here, but not an address.
        """
        parts = _split(host_headers[0]) if len(host_headers) == 1 else None
        return parts is not None and (parts[0] in self._names or _is_address(parts[0]))

    def accepts_origin(self, origin_headers: Sequence[bytes], host: bytes) -> bool:
        """Whether a page of this Origin may use the server at `host` (a Host header that has been accepted).

        The same host and port, or a configured name at any port. Loopback names and addresses need the same port:
        another program on this machine is another origin.
        """
        if len(origin_headers) != 1:
            return False
        scheme, separator, netloc = origin_headers[0].decode("latin-1").partition("://")
        parts, target = _split(netloc.encode("latin-1")), _split(host)
        if not separator or scheme not in _DEFAULT_PORTS or parts is None or target is None:
            return False
        if parts[0] in self._configured:
            return True
        default = _DEFAULT_PORTS[scheme]
        return parts[0] == target[0] and (parts[1] or default) == (target[1] or default)


def _configured(name: str) -> str:
    try:
        parts = _split(name.encode("idna"))
    except UnicodeError:
        parts = None
    if parts is None:
        raise ConfigurationError(f"ALLOWED_HOSTS: found {name!r}; accepted: host names like chat.example.com")
    return parts[0]


def _split(header: bytes) -> tuple[str, str | None] | None:
    """The host in lower case and the port, None for anything that is not plainly a host with an optional port."""
    match = _HOST.fullmatch(header)
    if match is None or match["name"].endswith(b"."):
        return None
    port = match["port"]
    return match["name"].decode("ascii").lower(), port.decode("ascii") if port else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    # An IPv6 address stands in brackets, an IPv4 one never does.
    return host.startswith("[") == (":" in host)
