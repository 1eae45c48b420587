"""Create revaluations."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "revaluations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.clock_timestamp(),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revaluations")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_revaluations_entry_id")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_revaluations_owner_id")),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["journal_entries.id"], name=op.f("fk_revaluations_entry_id")
        ),
    )
    op.create_index(
        op.f("ix_revaluations_owner_id_date_id"), "revaluations", ["owner_id", "date", "id"]
    )
    op.create_table(
        "revaluation_items",
        sa.Column("revaluation_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(3), nullable=False),
        sa.Column("balance", sa.Numeric(), nullable=False),
        sa.Column("rate", sa.Numeric(), nullable=False),
        sa.Column("carrying", sa.Numeric(), nullable=False),
        sa.Column("revalued", sa.Numeric(), nullable=False),
        sa.Column("difference", sa.Numeric(), nullable=False),
        sa.CheckConstraint(
            "carrying + difference = revalued",
            name=op.f("ck_revaluation_items_difference_is_exact"),
        ),
        sa.PrimaryKeyConstraint("revaluation_id", "account_id", name=op.f("pk_revaluation_items")),
        sa.ForeignKeyConstraint(
            ["revaluation_id"],
            ["revaluations.id"],
            name=op.f("fk_revaluation_items_revaluation_id"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_revaluation_items_account_id")
        ),
    )
    op.create_index(op.f("ix_revaluation_items_account_id"), "revaluation_items", ["account_id"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("revaluation_items")
    op.drop_table("revaluations")
