"""The row of one session in the database."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import REAL, BigInteger, Dialect, Double, Text, TypeDecorator
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel


def utc(moment: datetime | str) -> str:
    """`moment` as ISO 8601 in UTC, always of the same length, so that texts sort as times do; without a zone it is UTC.

    Raises:
        ValueError: the text is not a date.
    """
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def _now() -> str:
    return utc(datetime.now(UTC))


class _UtcText(TypeDecorator[str]):
    """The one place where dates enter the database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else utc(value)


_MONEY: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")


class SessionRecord(SQLModel, table=True):
    """One row of the table of sessions; dates are ISO 8601 in UTC.

    The four `subprocess_pid` and `process_*` columns identify the session's process; they stay after its end until
    `Records.clear_process`, so that a crash in between leaves nothing unswept.
    """

    __tablename__ = "sessions"

    session_id: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(default="default", sa_type=Text)
    status: str = Field(default="creating", sa_type=Text)
    created_at: str = Field(default_factory=_now, sa_type=_UtcText)
    last_active_at: str = Field(default_factory=_now, sa_type=_UtcText)
    subprocess_pid: int | None = None
    message_count: int = 0
    total_cost_usd: float = Field(default=0.0, sa_type=_MONEY)
    is_resumable: bool = True
    terminated_reason: str | None = Field(default=None, sa_type=Text)
    title: str | None = Field(default=None, sa_type=Text)
    model: str | None = Field(default=None, sa_type=Text)
    permission_mode: str | None = Field(default=None, sa_type=Text)
    working_dir: str | None = Field(default=None, sa_type=Text)
    input_tokens: int = Field(default=0, sa_type=BigInteger)
    output_tokens: int = Field(default=0, sa_type=BigInteger)
    parent_session_id: str | None = Field(default=None, sa_type=Text)
    process_start_ticks: int | None = Field(default=None, sa_type=BigInteger)
    process_boot_id: str | None = Field(default=None, sa_type=Text)
    process_marker: str | None = Field(default=None, sa_type=Text)
