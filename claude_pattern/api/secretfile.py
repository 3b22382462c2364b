"""Secrets that the server makes for itself and keeps in files that nobody else can read."""

import os
import secrets
import stat
from pathlib import Path

import structlog

from claude_pattern.errors import ConfigurationError

log = structlog.get_logger(__name__)

_PRIVATE = 0o600
_OTHERS = 0o077
_MAX_CHARS = 256


def read_or_create(path: Path) -> str:
    """The secret in `path`; made with 256 random bits when there is no such file.

    A file that others may read is reported and closed to them.

    Raises:
        ConfigurationError: the file cannot be read or written, or holds no secret.
    """
    try:
        text = _read(path)
    except FileNotFoundError:
        return _create(path)
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR/{path.name} cannot be read: {error.strerror}.") from None
    secret = text.strip()
    if not (1 <= len(secret) <= _MAX_CHARS and secret.isascii() and secret.isprintable()):
        raise ConfigurationError(
            f"DATA_DIR/{path.name} holds no key (1 to {_MAX_CHARS} printable ASCII characters). "
            "Delete the file to have a new one made."
        )
    return secret


def write_private(path: Path, text: str) -> None:
    """Write `text` so that `path` is either its old or its new content, readable by this user alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _create(path: Path) -> str:
    secret = secrets.token_urlsafe(32)
    try:
        write_private(path, secret + "\n")
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR/{path.name} cannot be written: {error.strerror}.") from None
    log.info("secret_created", file=path.name)
    return secret


def _read(path: Path) -> str:
    # Not through a symbolic link, and without waiting for the other end of a pipe.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigurationError(f"DATA_DIR/{path.name} is not a regular file.")
        if os.name == "posix" and mode & _OTHERS:
            _close_to_others(path, descriptor, mode)
        return file.read(_MAX_CHARS + 2).decode("ascii", "replace")


def _close_to_others(path: Path, descriptor: int, mode: int) -> None:
    fixed = True
    try:
        os.fchmod(descriptor, _PRIVATE)
    except OSError:
        fixed = False
    log.warning("secret_readable_by_others", file=path.name, mode=oct(stat.S_IMODE(mode)), fixed=fixed)
