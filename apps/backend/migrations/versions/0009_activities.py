"""Say of each account where it stands in the cash flow statement."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

activity = postgresql.ENUM(
    "cash",
    "operating",
    "investing",
    "financing",
    "exchange",
    name="cash_flow_activity",
    create_type=False,
)


def upgrade() -> None:
    """Add the column; accounts that exist get what the service gives by default."""
    activity.create(op.get_bind())
    op.add_column("accounts", sa.Column("activity", activity, nullable=True))
    op.execute(
        "UPDATE accounts SET activity = CASE type WHEN 'equity' THEN 'financing'"
        " ELSE 'operating' END::cash_flow_activity"
    )
    op.alter_column("accounts", "activity", nullable=False)
    op.create_check_constraint(
        op.f("ck_accounts_cash_is_held_or_owed"),
        "accounts",
        "activity <> 'cash' OR type IN ('asset', 'liability')",
    )


def downgrade() -> None:
    """Drop the column and the enum."""
    op.drop_column("accounts", "activity")
    activity.drop(op.get_bind())
