"""Constraints and triggers that wait for the commit."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .table import attempt, refused, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "Constraints and triggers"

TREE = """
    CREATE TABLE node (
        id int PRIMARY KEY,
        parent int REFERENCES node DEFERRABLE INITIALLY DEFERRED,
        place int UNIQUE DEFERRABLE
    )
"""
AUDIT = """
    CREATE TABLE audit (name text);
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.name = 'bad' THEN RAISE EXCEPTION 'bad' USING ERRCODE = 'check_violation'; END IF;
        INSERT INTO audit VALUES (NEW.name);
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER audit AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION audit();
"""
BOOKING = """
    CREATE TABLE booking (during int4range,
        EXCLUDE USING gist (during WITH &&) DEFERRABLE INITIALLY DEFERRED)
"""


async def _transact(connection: Any, *statements: str) -> str:
    """Run statements in a transaction, and say how and where it ended."""
    transaction = connection.transaction()
    await transaction.start()
    for number, sql in enumerate(statements):
        result = await attempt(connection.execute(sql))
        if result.endswith("Error"):
            await transaction.rollback()
            return f"{result} in {number}"
    return await attempt(transaction.commit()) or "committed"


@same(gives=["ForeignKeyViolationError", 0], schema=TREE)
async def test_deferred_violation(w: World) -> object:
    """A violation of a deferred foreign key is raised by the commit, which rolls back."""
    one = await w.connect()
    ended = await _transact(one, "INSERT INTO node VALUES (1, 2)")
    return [ended, await one.fetchval("SELECT count(*) FROM node")]


@same(gives=["committed", 2], schema=TREE)
async def test_deferred_repair(w: World) -> object:
    """A violation of a deferred foreign key may be repaired before the commit."""
    one = await w.connect()
    ended = await _transact(one, "INSERT INTO node VALUES (1, 2)", "INSERT INTO node VALUES (2, 1)")
    return [ended, await one.fetchval("SELECT count(*) FROM node")]


@same(gives="ForeignKeyViolationError", schema=TREE)
async def test_deferred_in_autocommit(w: World) -> object:
    """A statement of its own is checked at its end."""
    one = await w.connect()
    return await attempt(one.execute("INSERT INTO node VALUES (1, 2)"))


@same(
    gives=["ForeignKeyViolationError in 1", "ForeignKeyViolationError in 1", "committed"],
    schema=TREE,
)
async def test_set_constraints_immediate(w: World) -> object:
    """SET CONSTRAINTS ... IMMEDIATE checks at once, and lasts for its transaction only."""
    one = await w.connect()
    return [
        await _transact(one, "INSERT INTO node VALUES (1, 2)", "SET CONSTRAINTS ALL IMMEDIATE"),
        await _transact(one, "SET CONSTRAINTS ALL IMMEDIATE", "INSERT INTO node VALUES (1, 2)"),
        await _transact(one, "INSERT INTO node VALUES (1, 2)", "INSERT INTO node VALUES (2, NULL)"),
    ]


@same(
    gives=["committed", "UniqueViolationError in 0", [1, 2]],
    schema=f"{TREE}; INSERT INTO node VALUES (1, NULL, 1), (2, NULL, 2)",
)
async def test_set_constraints_deferred(w: World) -> object:
    """SET CONSTRAINTS ... DEFERRED lets unique values swap, and lasts for its transaction only."""
    one = await w.connect()
    swap = ("UPDATE node SET place = 2 WHERE id = 1", "UPDATE node SET place = 1 WHERE id = 2")
    return [
        await _transact(one, "SET CONSTRAINTS ALL DEFERRED", *swap),
        await _transact(one, "UPDATE node SET place = 2 WHERE id = 2"),
        await one.fetchval("SELECT array_agg(place ORDER BY place) FROM node"),
    ]


@same(gives=["committed", ["a"], "CheckViolationError", ["a"]], schema=AUDIT)
async def test_constraint_trigger(w: World) -> object:
    """A deferred constraint trigger runs at the commit, and may write or raise."""
    one = await w.connect()
    audited = "SELECT array_agg(name) FROM audit"
    return [
        await _transact(one, "INSERT INTO item (name) VALUES ('a')"),
        await one.fetchval(audited),
        await _transact(one, "INSERT INTO item (name) VALUES ('bad')"),
        await one.fetchval(audited),
    ]


@same(gives=[0, 1], schema=AUDIT)
async def test_constraint_trigger_waits(w: World) -> object:
    """A deferred constraint trigger has not run before the commit, nor at a savepoint's release."""
    one = await w.connect()
    async with one.transaction():
        async with one.transaction():
            await one.execute("INSERT INTO item (name) VALUES ('a')")
        before = await one.fetchval("SELECT count(*) FROM audit")
    return [before, await one.fetchval("SELECT count(*) FROM audit")]


@same(gives=["committed", "ExclusionViolationError"], schema=BOOKING)
async def test_exclusion(w: World) -> object:
    """A deferred exclusion constraint is checked at the commit."""
    one = await w.connect()
    return [
        await _transact(
            one,
            "INSERT INTO booking VALUES ('[1,5)'), ('[4,6)')",
            "UPDATE booking SET during = '[5,6)' WHERE during = '[4,6)'",
        ),
        await _transact(one, "INSERT INTO booking VALUES ('[1,2)')"),
    ]


@same(gives=["UniqueViolationError", "NotNullViolationError"])
async def test_immediate(w: World) -> object:
    """Other constraints are checked by the statement."""
    one = await w.connect()
    await one.execute("INSERT INTO item (name) VALUES ('a')")
    return [
        await attempt(one.execute("INSERT INTO item (name) VALUES ('a')")),
        await attempt(one.execute("INSERT INTO item (n) VALUES (NULL)")),
    ]


@same(
    gives=1,
    schema="""
        CREATE TABLE seen (rows int);
        CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO seen SELECT count(*) FROM fresh; RETURN NULL; END $$;
        CREATE TRIGGER seen AFTER INSERT ON item REFERENCING NEW TABLE AS fresh
        FOR EACH STATEMENT EXECUTE FUNCTION seen()
    """,
)
async def test_statement_trigger(w: World) -> object:
    """A statement trigger sees the rows of its statement only."""
    one = await w.connect()
    for name in "ab":
        await one.execute("INSERT INTO item (name) VALUES ($1)", name)
    return await one.fetchval("SELECT max(rows) FROM seen")


MODES = "All connections of a test are one session."


@refused(gives="INSERT 0 1", schema=TREE, note=MODES, error="SandboxConflictError")
async def test_immediate_for_another(w: World) -> object:
    """A write that is checked at once, because another open transaction has asked for that."""
    one, two = await w.connect(), await w.connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute("SET CONSTRAINTS ALL IMMEDIATE")
    try:
        async with two.transaction():
            added = await two.execute("INSERT INTO node VALUES (1, 2)")
            await two.execute("INSERT INTO node VALUES (2)")
            return added
    finally:
        await transaction.rollback()


@same(
    gives=["ForeignKeyViolationError", "ForeignKeyViolationError"],
    schema=f"{TREE}; CREATE TABLE leaf (node int REFERENCES node)",
)
async def test_violation_beside_modes(w: World) -> object:
    """A violation of what cannot be deferred, while another transaction has set constraints."""
    one, two = await w.connect(), await w.connect()
    found = []
    for mode in ("DEFERRED", "IMMEDIATE"):
        transaction = one.transaction()
        await transaction.start()
        await one.execute("INSERT INTO node VALUES (1)")
        await one.execute(f"SET CONSTRAINTS ALL {mode}")
        found.append(await attempt(two.execute("INSERT INTO leaf VALUES (9)")))
        await transaction.rollback()
    return found


@refused(gives=[2], schema=TREE, note=MODES, error="SandboxConflictError")
async def test_immediate_checks_another(w: World) -> object:
    """SET CONSTRAINTS ... IMMEDIATE while another transaction has a violation to repair."""
    one, two = await w.connect(), await w.connect()
    async with one.transaction():
        await one.execute("INSERT INTO node VALUES (1, 2)")
        async with two.transaction():
            await two.execute("SET CONSTRAINTS ALL IMMEDIATE")
        await one.execute("INSERT INTO node VALUES (2)")
    return [await one.fetchval("SELECT count(*) FROM node")]
