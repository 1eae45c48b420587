"""Create the chart of accounts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

account_type = postgresql.ENUM(
    "asset", "liability", "equity", "income", "expense", name="account_type", create_type=False
)


def upgrade() -> None:
    """Create the enum and the table."""
    account_type.create(op.get_bind())
    op.create_table(
        "accounts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(32, collation="C"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("type", account_type, nullable=False),
        sa.Column("currency", sa.CHAR(3), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.clock_timestamp(),
            nullable=False,
        ),
        sa.CheckConstraint("parent_id <> id", name=op.f("ck_accounts_not_its_own_parent")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("owner_id", "code", name=op.f("uq_accounts_owner_id_code")),
        sa.UniqueConstraint("id", "owner_id", "type", name=op.f("uq_accounts_id_owner_id_type")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_accounts_owner_id")),
        sa.ForeignKeyConstraint(
            ["parent_id", "owner_id", "type"],
            ["accounts.id", "accounts.owner_id", "accounts.type"],
            name=op.f("fk_accounts_parent_id_owner_id_type"),
        ),
    )
    op.create_index(op.f("ix_accounts_parent_id"), "accounts", ["parent_id"])


def downgrade() -> None:
    """Drop the table and the enum."""
    op.drop_table("accounts")
    account_type.drop(op.get_bind())
