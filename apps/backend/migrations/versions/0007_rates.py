"""Create exchange rates."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "fx_rates",
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("base", sa.CHAR(3), nullable=False),
        sa.Column("quote", sa.CHAR(3), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("rate", sa.Numeric(), nullable=False),
        sa.CheckConstraint("rate > 0", name=op.f("ck_fx_rates_rate_is_positive")),
        sa.CheckConstraint("base <> quote", name=op.f("ck_fx_rates_currencies_differ")),
        sa.PrimaryKeyConstraint("owner_id", "base", "quote", "date", name=op.f("pk_fx_rates")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_fx_rates_owner_id")),
    )
    op.create_index(
        op.f("ix_fx_rates_owner_id_date_base_quote"),
        "fx_rates",
        ["owner_id", "date", "base", "quote"],
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("fx_rates")
