"""The table of sessions.

Written out, not taken from the model: this step stays what it is when the model moves on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# REAL is a double in SQLite, but only a float in Postgres: too short for money.
money: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    """Create it."""
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.Text(), primary_key=True),
        sa.Column("user_id", sa.Text(), nullable=False, server_default="default"),
        sa.Column("status", sa.Text(), nullable=False, server_default="creating"),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("last_active_at", sa.Text(), nullable=False),
        sa.Column("subprocess_pid", sa.Integer()),
        sa.Column("message_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("total_cost_usd", money, nullable=False, server_default="0"),
        sa.Column("is_resumable", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("terminated_reason", sa.Text()),
        sa.Column("title", sa.Text()),
        sa.Column("model", sa.Text()),
        sa.Column("permission_mode", sa.Text()),
        sa.Column("working_dir", sa.Text()),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("parent_session_id", sa.Text()),
        # clock ticks since boot pass 2**31 after 248 days
        sa.Column("process_start_ticks", sa.BigInteger()),
        sa.Column("process_boot_id", sa.Text()),
        sa.Column("process_marker", sa.Text()),
        sa.CheckConstraint(
            "status IN ('creating', 'active', 'idle', 'restarting', 'terminated')", name="ck_sessions_status"
        ),
    )
    op.create_index("ix_sessions_status", "sessions", ["status"])
    op.create_index("ix_sessions_last_active_at", "sessions", ["last_active_at", "session_id"])
