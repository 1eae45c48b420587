"""Create bank accounts and their statements."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

statement_format = postgresql.ENUM("csv", "ofx", name="statement_format", create_type=False)


def upgrade() -> None:
    """Create the enum and the tables."""
    op.create_unique_constraint(
        op.f("uq_accounts_id_owner_id_currency"), "accounts", ["id", "owner_id", "currency"]
    )
    statement_format.create(op.get_bind())
    _create_bank_accounts()
    _create_imports()
    _create_lines()


def _now() -> sa.Column[object]:
    return sa.Column(
        "created_at",
        sa.DateTime(timezone=True),
        server_default=sa.func.clock_timestamp(),
        nullable=False,
    )


def _create_bank_accounts() -> None:
    op.create_table(
        "bank_accounts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(3), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("number", sa.String(), nullable=True),
        sa.Column("csv_format", postgresql.JSONB(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        _now(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bank_accounts")),
        sa.UniqueConstraint("account_id", name=op.f("uq_bank_accounts_account_id")),
        sa.ForeignKeyConstraint(
            ["account_id", "owner_id", "currency"],
            ["accounts.id", "accounts.owner_id", "accounts.currency"],
            name=op.f("fk_bank_accounts_account_id_owner_id_currency"),
        ),
    )
    op.create_index(op.f("ix_bank_accounts_owner_id_id"), "bank_accounts", ["owner_id", "id"])


def _create_imports() -> None:
    op.create_table(
        "statement_imports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("bank_account_id", sa.BigInteger(), nullable=False),
        sa.Column("format", statement_format, nullable=False),
        sa.Column("imported", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        _now(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_statement_imports")),
        sa.ForeignKeyConstraint(
            ["bank_account_id"],
            ["bank_accounts.id"],
            name=op.f("fk_statement_imports_bank_account_id"),
        ),
    )
    op.create_index(
        op.f("ix_statement_imports_bank_account_id_id"),
        "statement_imports",
        ["bank_account_id", "id"],
    )


def _create_lines() -> None:
    op.create_table(
        "statement_lines",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("bank_account_id", sa.BigInteger(), nullable=False),
        sa.Column("import_id", sa.BigInteger(), nullable=False),
        *_content(),
        sa.Column("key", sa.String(), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_statement_lines_amount_is_not_zero")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_statement_lines")),
        sa.UniqueConstraint(
            "bank_account_id", "key", name=op.f("uq_statement_lines_bank_account_id_key")
        ),
        sa.ForeignKeyConstraint(
            ["bank_account_id"],
            ["bank_accounts.id"],
            name=op.f("fk_statement_lines_bank_account_id"),
        ),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["statement_imports.id"],
            name=op.f("fk_statement_lines_import_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        op.f("ix_statement_lines_bank_account_id_date_id"),
        "statement_lines",
        ["bank_account_id", "date", "id"],
    )
    op.create_index(op.f("ix_statement_lines_import_id"), "statement_lines", ["import_id"])
    op.create_table(
        "staged_statement_lines",
        sa.Column("import_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        *_content(),
        sa.PrimaryKeyConstraint("import_id", "position", name=op.f("pk_staged_statement_lines")),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["statement_imports.id"],
            name=op.f("fk_staged_statement_lines_import_id"),
            ondelete="CASCADE",
        ),
    )


def _content() -> list[sa.Column[object]]:
    return [
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=True),
    ]


def downgrade() -> None:
    """Drop the tables and the enum."""
    for table in (
        "staged_statement_lines",
        "statement_lines",
        "statement_imports",
        "bank_accounts",
    ):
        op.drop_table(table)
    statement_format.drop(op.get_bind())
    op.drop_constraint(op.f("uq_accounts_id_owner_id_currency"), "accounts")
