"""Which Host and Origin headers are ours: the table of DNS rebinding and of foreign pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_pattern.api.hosts import Hosts
from claude_pattern.errors import ConfigurationError
from tests.unit.api_fakes import make_settings

HOSTS = Hosts(("chat.example.com", "Wiki.Example.com:8443"), ("localhost", "box"))

ACCEPTED_HOSTS = [
    b"localhost",
    b"localhost:8000",
    b"LOCALHOST:8000",
    b"box",
    b"127.0.0.1",
    b"127.0.0.1:8000",
    b"192.168.1.20:8000",
    b"[::1]",
    b"[::1]:8000",
    b"[2001:db8::1]:80",
    b"chat.example.com",
    b"Chat.Example.COM:443",
    b"wiki.example.com",
]
REFUSED_HOSTS = [
    b"",
    b" ",
    b"evil.example",
    b"localhost.evil",
    b"evil.localhost",
    b"localhost.",
    b"chat.example.com.",
    b"chat.example.com.evil",
    b"xchat.example.com",
    b"127.0.0.1.evil",
    b"127.0.0.1/x?",
    b"127.0.0.1:8000/x?y",
    b"localhost/",
    b"localhost#",
    b"localhost?",
    b"user@localhost",
    b"localhost@evil.example",
    b"user:password@localhost:8000",
    b"localhost:",
    b"localhost:port",
    b"localhost:123456",
    b"localhost:80:80",
    b"localhost, evil.example",
    b"localhost evil.example",
    b" localhost",
    b"localhost\t",
    b"localhost\x00",
    b"localhost\r\nx: y",
    b"::1",
    b"[::1",
    b"::1]",
    b"[::1]x",
    b"[::1%25eth0]",
    b"[127.0.0.1]",
    b"[localhost]",
    b"127.1",
    b"0x7f000001",
    b"2130706433",
    b"0177.0.0.1",
    b"256.0.0.1",
    b"*",
    "löcalhost".encode(),
    b"local\xe2\x80\xa4host",
]


@pytest.mark.parametrize("host", ACCEPTED_HOSTS)
def test_a_name_or_address_of_this_server_is_accepted_whatever_its_port_and_case(host: bytes) -> None:
    assert HOSTS.accepts([host])


@pytest.mark.parametrize("host", REFUSED_HOSTS)
def test_every_other_host_is_refused(host: bytes) -> None:
    assert not HOSTS.accepts([host])


@pytest.mark.parametrize("hosts", [[], [b"localhost", b"localhost"], [b"localhost", b"evil.example"]])
def test_exactly_one_host_header_is_needed(hosts: list[bytes]) -> None:
    assert not HOSTS.accepts(hosts)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"http://localhost:8000", b"localhost:8000"),
        (b"http://LocalHost:8000", b"localhost:8000"),
        (b"http://localhost", b"localhost"),
        (b"http://localhost", b"localhost:80"),
        (b"https://localhost", b"localhost"),
        (b"https://localhost", b"localhost:443"),
        (b"http://[::1]:8000", b"[::1]:8000"),
        (b"http://127.0.0.1:8000", b"127.0.0.1:8000"),
        (b"https://chat.example.com", b"localhost:8000"),
        (b"https://chat.example.com:9443", b"chat.example.com"),
        (b"https://wiki.example.com", b"127.0.0.1:8000"),
    ],
)
def test_our_own_pages_may_use_the_server(origin: bytes, host: bytes) -> None:
    assert HOSTS.accepts_origin([origin], host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"null", b"localhost:8000"),
        (b"", b"localhost:8000"),
        (b"http://evil.example", b"localhost:8000"),
        (b"http://localhost:3000", b"localhost:8000"),
        (b"http://localhost", b"localhost:8000"),
        (b"http://127.0.0.1:8000", b"localhost:8000"),
        (b"http://box:8000", b"localhost:8000"),
        (b"http://localhost.evil:8000", b"localhost:8000"),
        (b"http://localhost:8000.evil", b"localhost:8000"),
        (b"http://localhost:8000/", b"localhost:8000"),
        (b"http://user@localhost:8000", b"localhost:8000"),
        (b"http://localhost:8000@evil.example", b"localhost:8000"),
        (b"http://localhost:8000 http://evil.example", b"localhost:8000"),
        (b"ftp://localhost:8000", b"localhost:8000"),
        (b"file://", b"localhost:8000"),
        (b"ws://localhost:8000", b"localhost:8000"),
        (b"HTTP://localhost:8000", b"localhost:8000"),
        (b"chrome-extension://abcdef", b"localhost:8000"),
        (b"localhost:8000", b"localhost:8000"),
        (b"//localhost:8000", b"localhost:8000"),
        (b"http://xchat.example.com", b"localhost:8000"),
        (b"http://chat.example.com.evil", b"localhost:8000"),
        ("http://löcalhost".encode(), b"localhost:8000"),
    ],
)
def test_no_other_page_may(origin: bytes, host: bytes) -> None:
    assert not HOSTS.accepts_origin([origin], host)


def test_two_origins_are_refused() -> None:
    assert not HOSTS.accepts_origin([b"http://localhost", b"http://localhost"], b"localhost")


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_header_bytes_raise(first: bytes, second: bytes) -> None:
    assert HOSTS.accepts([first, second]) is False
    assert HOSTS.accepts([first]) in (True, False)
    assert HOSTS.accepts_origin([first], second) in (True, False)


@pytest.mark.parametrize(
    "name", ["https://chat.example.com", "chat example", "*.example.com", "a/b", "", "a" * 70 + "ü"]
)
def test_an_allowed_host_that_is_no_host_name_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^ALLOWED_HOSTS: found "):
        Hosts((name,))


def test_names_with_umlauts_are_known_by_what_browsers_send() -> None:
    assert Hosts(("müller.example",)).accepts([b"xn--mller-kva.example"])


def test_the_representation_names_every_host() -> None:
    assert repr(HOSTS) == "<Hosts box, chat.example.com, localhost, wiki.example.com>"


def test_the_machines_own_name_and_the_bound_name_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "WorkStation")
    hosts = Hosts.of(make_settings(host="claude.lan", allowed_hosts="a.example, b.example"))

    assert all(hosts.accepts([name]) for name in (b"workstation:8000", b"claude.lan", b"a.example", b"b.example"))
    assert not hosts.accepts([b"c.example"])
