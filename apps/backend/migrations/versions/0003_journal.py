"""Create the journal and its audit trail."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

entry_state = postgresql.ENUM("draft", "posted", "voided", name="entry_state", create_type=False)
line_side = postgresql.ENUM("debit", "credit", name="line_side", create_type=False)
audit_action = postgresql.ENUM(
    "created", "updated", "posted", "voided", "deleted", name="audit_action", create_type=False
)


def upgrade() -> None:
    """Create the enums and the tables."""
    for enum in (entry_state, line_side, audit_action):
        enum.create(op.get_bind())
    _create_entries()
    _create_lines()
    _create_audit_events()


def _create_entries() -> None:
    op.create_table(
        "journal_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("base_currency", sa.CHAR(3), nullable=False),
        sa.Column("state", entry_state, nullable=False),
        sa.Column("reverses_id", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_entries")),
        sa.UniqueConstraint("reverses_id", name=op.f("uq_journal_entries_reverses_id")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_journal_entries_owner_id")
        ),
        sa.ForeignKeyConstraint(
            ["reverses_id"], ["journal_entries.id"], name=op.f("fk_journal_entries_reverses_id")
        ),
    )
    op.create_index(
        op.f("ix_journal_entries_owner_id_date_id"), "journal_entries", ["owner_id", "date", "id"]
    )


def _create_lines() -> None:
    op.create_table(
        "journal_lines",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("side", line_side, nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("currency", sa.CHAR(3), nullable=False),
        sa.Column("rate", sa.Numeric(), nullable=False),
        sa.Column("base_amount", sa.Numeric(), nullable=False),
        sa.Column("memo", sa.String(), nullable=True),
        sa.CheckConstraint("amount > 0", name=op.f("ck_journal_lines_amount_is_positive")),
        sa.CheckConstraint("rate > 0", name=op.f("ck_journal_lines_rate_is_positive")),
        sa.CheckConstraint(
            "base_amount >= 0", name=op.f("ck_journal_lines_base_amount_is_not_negative")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_lines")),
        sa.UniqueConstraint(
            "entry_id",
            "position",
            name=op.f("uq_journal_lines_entry_id_position"),
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.ForeignKeyConstraint(
            ["entry_id"],
            ["journal_entries.id"],
            name=op.f("fk_journal_lines_entry_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_journal_lines_account_id")
        ),
    )
    op.create_index(op.f("ix_journal_lines_account_id"), "journal_lines", ["account_id"])


def _create_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("actor_id", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("action", audit_action, nullable=False),
        sa.Column(
            "occurred_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.clock_timestamp(),
            nullable=False,
        ),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
        sa.ForeignKeyConstraint(["actor_id"], ["users.id"], name=op.f("fk_audit_events_actor_id")),
    )
    op.create_index(
        op.f("ix_audit_events_actor_id_entry_id_id"),
        "audit_events",
        ["actor_id", "entry_id", "id"],
    )


def downgrade() -> None:
    """Drop the tables and the enums."""
    for table in ("audit_events", "journal_lines", "journal_entries"):
        op.drop_table(table)
    for enum in (audit_action, line_side, entry_state):
        enum.drop(op.get_bind())
