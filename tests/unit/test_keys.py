"""Keys, cookies and codes: what is accepted, for how long, and what is left on disk."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from claude_pattern import errors, timeouts
from claude_pattern.api.keys import COOKIE, Keys
from claude_pattern.api.limits import ATTEMPTS, LOGIN_CODES
from claude_pattern.api.secretfile import read_or_create
from claude_pattern.api.signedout import SignedOut
from claude_pattern.logs import MASK, scrubber
from claude_pattern.settings import Settings
from tests.unit.api_fakes import Clock, make_settings


def make(folder: Path, *, key: str = "the key", secret: str = "secret", wall: Clock | None = None) -> Keys:
    wall = wall or Clock()
    return Keys(key, secret, SignedOut(folder / "signed_out", wall), clock=Clock(), now=wall)


def settings(key: str | None = None) -> Settings:
    return make_settings(claude_sdk_pattern_api_key=key)


# ---------------------------------------------------------------- the key


def test_only_the_key_itself_is_accepted_as_text_and_as_bytes(tmp_path: Path) -> None:
    keys = make(tmp_path)

    assert keys.check("the key")
    assert keys.check(b"the key")
    for wrong in (
        "",
        "The key",
        "the key ",
        "the ke",
        "the key\0",
        "thé key",
        "\ud800",
        b"",
        b"\xff\xfe",
        b"the key\n",
    ):
        assert not keys.check(wrong)


@given(st.text() | st.binary())
def test_no_key_raises(wrong: str | bytes) -> None:
    assert make(Path("/nonexistent")).check(wrong) is (wrong in ("the key", b"the key"))


def test_the_key_of_the_settings_is_used_and_no_file_is_written_for_it(tmp_path: Path) -> None:
    keys = Keys.load(settings("from the settings"), tmp_path)

    assert keys.check("from the settings")
    assert keys.key_file is None
    assert not (tmp_path / "api_key").exists()


def test_without_a_key_in_the_settings_one_is_made_once_and_kept_private(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    keys = Keys.load(settings(), folder)
    made = (folder / "api_key").read_text().strip()

    assert keys.key_file == folder / "api_key"
    assert len(made) >= 43
    assert keys.check(made)
    assert Keys.load(settings(), folder).check(made)
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert sorted(file.name for file in folder.iterdir()) == ["api_key", "cookie_secret"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_every_secret_is_taught_to_the_scrubber(tmp_path: Path) -> None:
    keys = Keys.load(settings("a-key-of-the-operator"), tmp_path)
    code = keys.login_code()
    secrets = ["a-key-of-the-operator", (tmp_path / "cookie_secret").read_text().strip(), keys.storage_secret, code]

    assert [scrubber.text(f"<{secret}>") for secret in secrets] == [f"<{MASK}>"] * 4


def test_nothing_secret_is_in_the_representation(tmp_path: Path) -> None:
    keys = Keys.load(settings("a-key-of-the-operator"), tmp_path)
    keys.login_code()

    assert repr(keys) == "<Keys 1 open codes | 0 watched sessions>"


# ---------------------------------------------------------------- the files


def test_a_file_that_others_can_read_is_closed_to_them_and_reported(tmp_path: Path) -> None:
    file = tmp_path / "api_key"
    file.write_text("k" * 43 + "\n")
    file.chmod(0o644)
    with capture_logs() as lines:
        assert read_or_create(file) == "k" * 43

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [(line["event"], line["mode"], line["fixed"]) for line in lines] == [
        ("secret_readable_by_others", "0o644", True)
    ]


def test_a_file_that_cannot_be_closed_to_others_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    file = tmp_path / "api_key"
    file.write_text("k" * 43)
    file.chmod(0o666)
    monkeypatch.setattr(os, "fchmod", refuse)
    with capture_logs() as lines:
        read_or_create(file)

    assert [line["fixed"] for line in lines] == [False]


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two\nlines", b"k" * 257, b"\xff" * 10, "schlüssel".encode(), b"a\0b"]
)
def test_a_file_without_a_key_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "api_key"
    file.write_bytes(content)
    file.chmod(0o600)

    with pytest.raises(errors.ConfigurationError, match=r"^DATA_DIR/api_key holds no key"):
        read_or_create(file)


def test_a_folder_a_pipe_or_a_link_in_place_of_the_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "real").write_text("k" * 43)
    (tmp_path / "link").symlink_to(tmp_path / "real")

    for name in ("folder", "pipe", "link"):
        with pytest.raises(errors.ConfigurationError, match=f"^DATA_DIR/{name} "):
            read_or_create(tmp_path / name)


def test_a_data_folder_that_cannot_be_written_is_told_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    with pytest.raises(errors.ConfigurationError) as caught:
        read_or_create(tmp_path / "data" / "api_key")
    assert str(tmp_path) not in str(caught.value)


def test_a_failed_write_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(errors.ConfigurationError, match=r"^DATA_DIR/api_key cannot be written: No space left"):
        read_or_create(tmp_path / "api_key")

    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- browser sessions


def test_a_session_is_valid_until_it_expires(tmp_path: Path) -> None:
    wall = Clock(1_000_000)
    keys = make(tmp_path, wall=wall)
    cookie = keys.open_session()

    assert keys.session_valid(cookie)
    wall.now += timeouts.LOGIN_SESSION - 1
    assert keys.session_valid(cookie)
    assert keys.session_left_s(cookie) == 1
    wall.now += 1
    assert not keys.session_valid(cookie)


def test_a_clock_that_is_set_back_signs_nobody_out(tmp_path: Path) -> None:
    wall = Clock(1_000_000)
    keys = make(tmp_path, wall=wall)
    cookie = keys.open_session()
    wall.now -= 3600

    assert keys.session_left_s(cookie) == timeouts.LOGIN_SESSION


def test_no_two_sessions_are_alike(tmp_path: Path) -> None:
    keys = make(tmp_path)
    ids = {keys.open_session().split(".")[0] for _ in range(100)}

    assert len(ids) == 100
    assert min(map(len, ids)) >= 32  # 192 bits


def test_a_session_survives_a_restart(tmp_path: Path) -> None:
    cookie = make(tmp_path).open_session()

    assert make(tmp_path).session_valid(cookie)


def test_a_signed_out_session_stays_signed_out_after_a_restart_and_the_others_stay_in(tmp_path: Path) -> None:
    keys = make(tmp_path)
    out, still_in = keys.open_session(), keys.open_session()
    keys.close_session(out)

    for later in (keys, make(tmp_path)):
        assert not later.session_valid(out)
        assert later.session_valid(still_in)


def test_the_list_of_signed_out_sessions_forgets_those_that_have_expired(tmp_path: Path) -> None:
    wall = Clock(1_000_000)
    keys = make(tmp_path, wall=wall)
    keys.close_session(keys.open_session())
    wall.now += timeouts.LOGIN_SESSION + 1
    last = keys.open_session()
    keys.close_session(last)

    assert (tmp_path / "signed_out").read_text().count(":") == 1
    assert stat.S_IMODE((tmp_path / "signed_out").stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": "b"}', "\x00"])
def test_a_damaged_list_of_signed_out_sessions_signs_everybody_out(tmp_path: Path, damage: str) -> None:
    keys = Keys.load(settings("k"), tmp_path)
    cookie = keys.open_session()
    (tmp_path / "signed_out").write_text(damage)
    with capture_logs() as lines:
        later = Keys.load(settings("k"), tmp_path)

    assert not later.session_valid(cookie)
    assert later.session_valid(later.open_session())
    assert "signed_out_list_damaged" in [line["event"] for line in lines]


def test_a_list_of_signed_out_sessions_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "signed_out").mkdir()

    with pytest.raises(errors.ConfigurationError, match=r"^DATA_DIR/signed_out cannot be read"):
        Keys.load(settings("k"), tmp_path)


def test_another_key_or_another_secret_ends_every_session(tmp_path: Path) -> None:
    cookie = make(tmp_path).open_session()

    assert not make(tmp_path, key="another key").session_valid(cookie)
    assert not make(tmp_path, secret="another secret").session_valid(cookie)


def test_a_cookie_that_we_did_not_sign_is_worth_nothing(tmp_path: Path) -> None:
    keys = make(tmp_path)
    good = keys.open_session()
    session, started, signature = good.split(".")
    forged = [
        None,
        "",
        "x",
        session,
        f"{session}.{started}",
        f"{session}.{int(started) + 1}.{signature}",
        f"x{session}.{started}.{signature}",
        f"{session}.{started}.{signature[:-1]}",
        f"{session}..{signature}",
        good + "x" * 300,
        good + "é",
        "\ud800",
    ]

    assert [keys.session_valid(cookie) for cookie in forged] == [False] * len(forged)
    keys.close_session("x")
    assert not (tmp_path / "signed_out").exists()


@given(st.text(max_size=100))
def test_no_cookie_raises(cookie: str) -> None:
    assert make(Path("/nonexistent")).session_valid(cookie) is False


def test_those_who_watch_a_session_hear_of_its_end_once(tmp_path: Path) -> None:
    keys = make(tmp_path)
    cookie, heard = keys.open_session(), list[str]()
    keys.when_closed(cookie, lambda: heard.append("first"))
    stop = keys.when_closed(cookie, lambda: heard.append("second"))
    keys.when_closed(keys.open_session(), lambda: heard.append("another session"))
    stop()
    stop()
    keys.close_session(cookie)
    keys.close_session(cookie)

    assert heard == ["first"]


def test_a_session_that_nobody_watches_any_more_is_forgotten(tmp_path: Path) -> None:
    keys = make(tmp_path)
    for _ in range(10):
        keys.when_closed(keys.open_session(), lambda: None)()

    assert repr(keys) == "<Keys 0 open codes | 0 watched sessions>"


def test_a_cookie_that_is_not_ours_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(errors.Unauthorized):
        make(tmp_path).when_closed("x", lambda: None)


def test_the_cookie_is_out_of_reach_of_scripts_and_of_foreign_sites(tmp_path: Path) -> None:
    keys = make(tmp_path)

    assert COOKIE == "claude_pattern_session"
    assert keys.cookie_params(secure=True) == {
        "httponly": True,
        "samesite": "lax",
        "secure": True,
        "path": "/",
        "max_age": 43_200,
    }
    assert keys.cookie_params(secure=False)["secure"] is False


def test_niceguis_storage_gets_a_secret_of_its_own_that_stays_the_same(tmp_path: Path) -> None:
    first, later = Keys.load(settings("k"), tmp_path), Keys.load(settings("k"), tmp_path)

    assert first.storage_secret == later.storage_secret
    assert len(first.storage_secret) == 64
    assert first.storage_secret != (tmp_path / "cookie_secret").read_text().strip()


# ---------------------------------------------------------------- one-time codes


def test_a_code_signs_in_once(tmp_path: Path) -> None:
    keys = make(tmp_path)
    code = keys.login_code()

    assert len(code) >= 43
    assert [keys.redeem(code), keys.redeem(code)] == [True, False]


def test_a_code_is_worth_nothing_after_ten_minutes(tmp_path: Path) -> None:
    clock = Clock(0)
    keys = Keys("k", "s", SignedOut(tmp_path / "signed_out", clock), clock=clock, now=clock)
    in_time, too_late = keys.login_code(), keys.login_code()
    clock.now = 599.9
    assert keys.redeem(in_time)
    clock.now = 600

    assert not keys.redeem(too_late)


def test_an_unknown_code_is_worth_nothing(tmp_path: Path) -> None:
    keys = make(tmp_path)
    keys.login_code()

    assert [keys.redeem(code) for code in ("", "x", "é", "\ud800")] == [False] * 4


def test_only_so_many_codes_are_open_at_once(tmp_path: Path) -> None:
    keys = make(tmp_path)
    codes = [keys.login_code() for _ in range(LOGIN_CODES + 1)]

    assert not keys.redeem(codes[0])
    assert keys.redeem(codes[1])


# ---------------------------------------------------------------- those who guess


def test_an_address_may_guess_ten_times_a_minute(tmp_path: Path) -> None:
    clock = Clock(0)
    keys = Keys("k", "s", SignedOut(tmp_path / "signed_out", clock), clock=clock, now=clock)
    for _ in range(ATTEMPTS):
        keys.attempt("192.0.2.1")
    with pytest.raises(errors.TooManyAttempts):
        keys.attempt("192.0.2.1")
    keys.attempt("192.0.2.2")
    clock.now = 60

    keys.attempt("192.0.2.1")


def test_good_attempts_do_not_count_and_failures_without_an_attempt_do(tmp_path: Path) -> None:
    keys = make(tmp_path)
    for _ in range(50):
        keys.attempt("192.0.2.1")
        keys.succeeded("192.0.2.1")
    for _ in range(ATTEMPTS):
        keys.failed("192.0.2.1")

    with pytest.raises(errors.TooManyAttempts):
        keys.attempt("192.0.2.1")
