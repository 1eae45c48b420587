"""Create matches, and guard their states and what they have reconciled.

As in 0004, each error is a subclass of `integrity_constraint_violation` with a constraint's name.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

match_state = postgresql.ENUM(
    "proposed", "confirmed", "rejected", name="match_state", create_type=False
)

GUARD_MATCHES = (
    """
CREATE FUNCTION guard_match() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moving CONSTANT text[] := ARRAY['state', 'version'];
BEGIN
    IF TG_OP = 'INSERT' AND NEW.state = 'proposed'
        OR TG_OP = 'UPDATE' AND to_jsonb(NEW) - moving = to_jsonb(OLD) - moving
            AND (OLD.state, NEW.state) IN (('proposed', 'confirmed'), ('proposed', 'rejected'),
                ('confirmed', 'proposed'))
    THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.state <> 'confirmed' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% of match % is not allowed', TG_OP, coalesce(OLD.id, NEW.id)
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'matches_states',
            HINT = 'A match is proposed first; it is confirmed, rejected, or reopened.';
END $$
""",
    """
CREATE TRIGGER guard_match BEFORE INSERT OR UPDATE OR DELETE ON matches
    FOR EACH ROW EXECUTE FUNCTION guard_match()
""",
)

# A proposal without all of its lines would be about something else. The lines of a confirmed match
# stay: `reconciled_lines` refers to them.
DROP_PROPOSALS = (
    """
CREATE FUNCTION drop_match_without_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM matches WHERE id = OLD.match_id AND state <> 'confirmed';
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER drop_match_without_line AFTER DELETE ON match_lines
    FOR EACH ROW EXECUTE FUNCTION drop_match_without_line()
""",
)

# FOR SHARE: who confirms and who voids the same entry wait for each other, and the second one sees
# what the first has done.
GUARD_RECONCILED = (
    """
CREATE FUNCTION guard_reconciled_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM journal_entries WHERE id = NEW.entry_id AND state = 'posted' FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'journal entry % is not posted', NEW.entry_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reconciled_entries_posted';
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER guard_reconciled_entry BEFORE INSERT OR UPDATE ON reconciled_entries
    FOR EACH ROW EXECUTE FUNCTION guard_reconciled_entry()
""",
    """
CREATE FUNCTION keep_reconciled_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM reconciled_entries WHERE entry_id = OLD.id) THEN
        RAISE EXCEPTION 'journal entry % is reconciled', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'journal_entries_reconciled';
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER keep_reconciled_entry BEFORE UPDATE ON journal_entries
    FOR EACH ROW WHEN (NEW.state = 'voided') EXECUTE FUNCTION keep_reconciled_entry()
""",
)


def upgrade() -> None:
    """Create the enum, the tables, and the triggers, each with its function."""
    match_state.create(op.get_bind())
    _create_matches()
    _create_members()
    _create_reconciled()
    for guard in (GUARD_MATCHES, DROP_PROPOSALS, GUARD_RECONCILED):
        for statement in guard:
            op.execute(statement)


def _create_matches() -> None:
    op.create_table(
        "matches",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("bank_account_id", sa.BigInteger(), nullable=False),
        sa.Column("state", match_state, nullable=False),
        sa.Column("score", sa.SmallInteger(), nullable=False),
        sa.Column("difference", sa.Numeric(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.clock_timestamp(),
            nullable=False,
        ),
        sa.CheckConstraint(
            "score BETWEEN 0 AND 100", name=op.f("ck_matches_score_is_a_percentage")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_matches")),
        sa.ForeignKeyConstraint(
            ["bank_account_id"], ["bank_accounts.id"], name=op.f("fk_matches_bank_account_id")
        ),
    )
    op.create_index(op.f("ix_matches_bank_account_id_id"), "matches", ["bank_account_id", "id"])


def _create_members() -> None:
    op.create_table(
        "match_lines",
        sa.Column("match_id", sa.BigInteger(), nullable=False),
        sa.Column("statement_line_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("match_id", "statement_line_id", name=op.f("pk_match_lines")),
        sa.ForeignKeyConstraint(
            ["match_id"],
            ["matches.id"],
            name=op.f("fk_match_lines_match_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["statement_line_id"],
            ["statement_lines.id"],
            name=op.f("fk_match_lines_statement_line_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(op.f("ix_match_lines_statement_line_id"), "match_lines", ["statement_line_id"])
    op.create_table(
        "match_entries",
        sa.Column("match_id", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("match_id", "entry_id", name=op.f("pk_match_entries")),
        sa.ForeignKeyConstraint(
            ["match_id"],
            ["matches.id"],
            name=op.f("fk_match_entries_match_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["journal_entries.id"], name=op.f("fk_match_entries_entry_id")
        ),
    )
    op.create_index(op.f("ix_match_entries_entry_id"), "match_entries", ["entry_id"])


def _create_reconciled() -> None:
    op.create_table(
        "reconciled_lines",
        sa.Column("statement_line_id", sa.BigInteger(), nullable=False),
        sa.Column("match_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("statement_line_id", name=op.f("pk_reconciled_lines")),
        sa.ForeignKeyConstraint(
            ["statement_line_id"],
            ["statement_lines.id"],
            name=op.f("fk_reconciled_lines_statement_line_id"),
        ),
        sa.ForeignKeyConstraint(
            ["match_id"], ["matches.id"], name=op.f("fk_reconciled_lines_match_id")
        ),
    )
    op.create_index(op.f("ix_reconciled_lines_match_id"), "reconciled_lines", ["match_id"])
    op.create_table(
        "reconciled_entries",
        sa.Column("bank_account_id", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("match_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bank_account_id", "entry_id", name=op.f("pk_reconciled_entries")),
        sa.ForeignKeyConstraint(
            ["bank_account_id"],
            ["bank_accounts.id"],
            name=op.f("fk_reconciled_entries_bank_account_id"),
        ),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["journal_entries.id"], name=op.f("fk_reconciled_entries_entry_id")
        ),
        sa.ForeignKeyConstraint(
            ["match_id"], ["matches.id"], name=op.f("fk_reconciled_entries_match_id")
        ),
    )
    op.create_index(op.f("ix_reconciled_entries_match_id"), "reconciled_entries", ["match_id"])
    op.create_index(op.f("ix_reconciled_entries_entry_id"), "reconciled_entries", ["entry_id"])


def downgrade() -> None:
    """Drop the functions with their triggers, the tables and the enum."""
    for function in (
        "guard_match",
        "drop_match_without_line",
        "guard_reconciled_entry",
        "keep_reconciled_entry",
    ):
        op.execute(f"DROP FUNCTION {function}() CASCADE")
    for table in (
        "reconciled_entries",
        "reconciled_lines",
        "match_entries",
        "match_lines",
        "matches",
    ):
        op.drop_table(table)
    match_state.drop(op.get_bind())
