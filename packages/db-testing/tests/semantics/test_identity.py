"""Transaction identity: what savepoints cannot give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .table import different, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "Transaction identity"

ADD = "INSERT INTO item (name) VALUES ($1)"
OUTER = "All transactions of a test are parts of one."
SUB = "A row carries the number of the savepoint that wrote it, not of the outer transaction."
TRIGGER = """
    CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.xmin::text::bigint = pg_current_xact_id()::text::bigint % (2^32)::bigint THEN
            NEW.n := OLD.n;
        ELSE
            NEW.n := OLD.n + 1;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER once BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION once();
"""


@different(gives=True, here=False, note=SUB)
async def test_xmin(w: World) -> object:
    """The xmin of a row of this transaction is pg_current_xact_id()."""
    one = await w.connect()
    async with one.transaction():
        await one.execute(ADD, "a")
        return await one.fetchval("SELECT xmin = pg_current_xact_id()::xid FROM item")


@different(gives=0, here=1, note=SUB, schema=TRIGGER)
async def test_trigger(w: World) -> object:
    """A trigger can tell rows of this transaction from older ones by xmin."""
    one = await w.connect()
    async with one.transaction():
        await one.execute(ADD, "a")
        await one.execute("UPDATE item SET name = 'b'")
        return await one.fetchval("SELECT n FROM item")


@different(gives=False, here=True, note=OUTER)
async def test_current_xact_id(w: World) -> object:
    """pg_current_xact_id() and txid_current() differ from transaction to transaction."""
    one = await w.connect()
    first = await one.fetchval("SELECT txid_current()")
    return first == await one.fetchval("SELECT pg_current_xact_id()::text::bigint")


@different(gives=[None, None], here=[None, "number"], note=OUTER)
async def test_current_xact_id_if_assigned(w: World) -> object:
    """pg_current_xact_id_if_assigned() is null in transactions that have not written."""
    one = await w.connect()
    ask = "SELECT 'number' WHERE pg_current_xact_id_if_assigned() IS NOT NULL"
    first = await one.fetchval(ask)
    await one.execute(ADD, "a")
    return [first, await one.fetchval(ask)]


@different(gives="committed", here="in progress", note=OUTER)
async def test_status(w: World) -> object:
    """pg_xact_status() and txid_status() say that a committed transaction is."""
    one = await w.connect()
    number = await one.fetchval("SELECT txid_current()")
    return await one.fetchval("SELECT txid_status($1)", number)


@same(gives=True)
async def test_xmin_as_version(w: World) -> object:
    """A row's version for optimistic locking, xmin, changes with each transaction's update."""
    one = await w.connect()
    await one.execute(ADD, "a")
    versions = [await one.fetchval("SELECT xmin::text FROM item")]
    for _ in range(2):
        async with one.transaction():
            await one.execute("UPDATE item SET n = n + 1")
        versions.append(await one.fetchval("SELECT xmin::text FROM item"))
    return len(set(versions)) == len(versions)


@same(gives=["inserted", "updated"])
async def test_upsert_says_which(w: World) -> object:
    """INSERT ... ON CONFLICT: xmax = 0 tells an inserted row from an updated one."""
    one = await w.connect()
    upsert = (
        "INSERT INTO item (name) VALUES ('a') ON CONFLICT (name) DO UPDATE SET n = item.n + 1"
        " RETURNING CASE xmax WHEN 0 THEN 'inserted' ELSE 'updated' END"
    )
    return [await one.fetchval(upsert), await one.fetchval(upsert)]
