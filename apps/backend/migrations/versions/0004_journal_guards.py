"""Guard the journal by triggers.

The rules of the books hold for every program that writes here, not only for the service. Each
error is a subclass of `integrity_constraint_violation` and carries a constraint's name.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

GUARD_ENTRIES = (
    """
CREATE FUNCTION guard_journal_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moving CONSTANT text[] := ARRAY['state', 'version', 'updated_at'];
BEGIN
    IF TG_OP = 'INSERT' AND NEW.state = 'draft'
        OR TG_OP = 'UPDATE' AND OLD.state = 'draft' AND NEW.state IN ('draft', 'posted')
            AND (NEW.id, NEW.owner_id, NEW.base_currency)
                = (OLD.id, OLD.owner_id, OLD.base_currency)
        OR TG_OP = 'UPDATE' AND OLD.state = 'posted' AND NEW.state = 'voided'
            AND to_jsonb(NEW) - moving = to_jsonb(OLD) - moving
    THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.state = 'draft' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% of journal entry % is not allowed', TG_OP, coalesce(OLD.id, NEW.id)
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'journal_entries_immutable',
            HINT = 'An entry begins as a draft; once posted it can only be voided.';
END $$
""",
    """
CREATE TRIGGER guard_journal_entry BEFORE INSERT OR UPDATE OR DELETE ON journal_entries
    FOR EACH ROW EXECUTE FUNCTION guard_journal_entry()
""",
)

# FOR SHARE makes a line wait for a transaction that is posting its entry or changing its account.
# When a deleted draft takes its lines along, the draft is gone already and `entry` is null.
GUARD_LINES = (
    """
CREATE FUNCTION guard_journal_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    entry record;
    account record;
BEGIN
    SELECT e.state, e.owner_id INTO entry FROM journal_entries e
        WHERE e.id = CASE TG_OP WHEN 'INSERT' THEN NEW.entry_id ELSE OLD.entry_id END FOR SHARE;
    IF entry.state <> 'draft' OR TG_OP = 'UPDATE' AND NEW.entry_id <> OLD.entry_id THEN
        RAISE EXCEPTION '% of a line of a % journal entry is not allowed', TG_OP, entry.state
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'journal_lines_immutable';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    SELECT a.owner_id, a.currency INTO account FROM accounts a
        WHERE a.id = NEW.account_id FOR SHARE;
    IF account.owner_id <> entry.owner_id OR account.currency <> NEW.currency THEN
        RAISE EXCEPTION 'line in % does not fit account %', NEW.currency, NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_lines_fit_account',
                HINT = 'A line has the owner of its entry and the currency of its account.';
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER guard_journal_line BEFORE INSERT OR UPDATE OR DELETE ON journal_lines
    FOR EACH ROW EXECUTE FUNCTION guard_journal_line()
""",
)

# Deferred: the lines and the reversal may come after the change of state in one transaction.
CHECK_BALANCE = (
    """
CREATE FUNCTION check_journal_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lines bigint;
    difference numeric;
BEGIN
    SELECT count(*), coalesce(sum(CASE side WHEN 'debit' THEN base_amount ELSE -base_amount END), 0)
        INTO lines, difference FROM journal_lines WHERE entry_id = NEW.id;
    IF lines < 2 OR difference <> 0 THEN
        RAISE EXCEPTION 'journal entry % does not balance: % lines, debits - credits = %',
            NEW.id, lines, difference
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_entries_balance';
    END IF;
    IF NEW.state = 'voided'
        AND NOT EXISTS (SELECT FROM journal_entries WHERE reverses_id = NEW.id AND state = 'posted')
    THEN
        RAISE EXCEPTION 'voided journal entry % has no reversing entry', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_entries_reversed';
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE CONSTRAINT TRIGGER check_journal_entry AFTER UPDATE ON journal_entries
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.state <> 'draft') EXECUTE FUNCTION check_journal_entry()
""",
)

FREEZE_ACCOUNTS = (
    """
CREATE FUNCTION freeze_account_with_lines() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM journal_lines WHERE account_id = OLD.id) THEN
        RAISE EXCEPTION 'account % has journal lines: its type and currency are fixed', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'accounts_frozen_by_lines';
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER freeze_account_with_lines BEFORE UPDATE ON accounts
    FOR EACH ROW
    WHEN ((OLD.type, OLD.currency, OLD.owner_id)
        IS DISTINCT FROM (NEW.type, NEW.currency, NEW.owner_id))
    EXECUTE FUNCTION freeze_account_with_lines()
""",
)

KEEP_AUDIT_EVENTS = (
    """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is not allowed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_TABLE_NAME || '_append_only';
END $$
""",
    """
CREATE TRIGGER keep_audit_events BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
""",
    """
CREATE TRIGGER keep_journal_entries BEFORE TRUNCATE ON journal_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
""",
    """
CREATE TRIGGER keep_journal_lines BEFORE TRUNCATE ON journal_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
""",
)


def upgrade() -> None:
    """Create the triggers, each with its function."""
    for guard in (GUARD_ENTRIES, GUARD_LINES, CHECK_BALANCE, FREEZE_ACCOUNTS, KEEP_AUDIT_EVENTS):
        # asyncpg prepares what it executes, and only single statements can be prepared.
        for statement in guard:
            op.execute(statement)


def downgrade() -> None:
    """Drop the functions along with the triggers that call them."""
    for function in (
        "guard_journal_entry",
        "guard_journal_line",
        "check_journal_entry",
        "freeze_account_with_lines",
        "refuse_change",
    ):
        op.execute(f"DROP FUNCTION {function}() CASCADE")
