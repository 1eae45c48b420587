"""Definitions, and what must not run in a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .table import attempt, refused, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "Definitions and maintenance"

ALONE = "It cannot run inside a transaction, and here everything does."
MOOD = "CREATE TYPE mood AS ENUM ('sad')"


@same(gives=["UndefinedTableError", 0])
async def test_create_table(w: World) -> object:
    """CREATE TABLE in a transaction is rolled back, or stays."""
    one, two = await w.connect(), await w.connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute("CREATE TABLE t (x int)")
    await transaction.rollback()
    gone = await attempt(one.fetchval("SELECT count(*) FROM t"))
    await one.execute("CREATE TABLE t (x int)")
    return [gone, await two.fetchval("SELECT count(*) FROM t")]


@same(gives=["a", 5, "DependentObjectsStillExistError"])
async def test_alter_table(w: World) -> object:
    """ALTER TABLE, with a type that changes under a connection, and DROP with dependants."""
    one = await w.connect()
    await one.execute("INSERT INTO item (name) VALUES ('a')")
    before = await one.fetchval("SELECT name FROM item")
    await one.execute("CREATE VIEW v AS SELECT n FROM item")
    await one.execute("ALTER TABLE item ALTER name TYPE int USING 5")
    return [
        before,
        await one.fetchval("SELECT name FROM item"),
        await attempt(one.execute("ALTER TABLE item DROP n")),
    ]


@same(gives=[1, 0])
async def test_truncate(w: World) -> object:
    """TRUNCATE is rolled back, or stays."""
    one = await w.connect()
    await one.execute("INSERT INTO item (name) VALUES ('a')")
    transaction = one.transaction()
    await transaction.start()
    await one.execute("TRUNCATE item")
    await transaction.rollback()
    found = [await one.fetchval("SELECT count(*) FROM item")]
    await one.execute("TRUNCATE item")
    return [*found, await one.fetchval("SELECT count(*) FROM item")]


@same(gives=["sad", "InvalidTextRepresentationError"], schema=MOOD)
async def test_enum(w: World) -> object:
    """Enums, also new ones."""
    one = await w.connect()
    await one.execute("CREATE TYPE colour AS ENUM ('red')")
    await one.execute("CREATE TABLE t (m mood DEFAULT 'sad', c colour DEFAULT 'red')")
    await one.execute("INSERT INTO t DEFAULT VALUES")
    return [
        await one.fetchval("SELECT m FROM t WHERE c = 'red'"),
        await attempt(one.execute("INSERT INTO t (c) VALUES ('blue')")),
    ]


@refused(
    gives="glad",
    schema=MOOD,
    note="The server lets nobody use a new value before the transaction that added it has ended.",
)
async def test_enum_value(w: World) -> object:
    """ALTER TYPE ... ADD VALUE, and its use in a later transaction."""
    one = await w.connect()
    await one.execute("ALTER TYPE mood ADD VALUE 'glad'")
    return await one.fetchval("SELECT 'glad'::mood")


@refused(
    gives="UnsafeNewEnumValueUsageError",
    schema=MOOD,
    note="An error in production too, of another class.",
)
async def test_enum_value_at_once(w: World) -> object:
    """ALTER TYPE ... ADD VALUE, and its use in the same transaction."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute("ALTER TYPE mood ADD VALUE 'glad'")
    failed = await attempt(one.fetchval("SELECT 'glad'::mood"))
    await transaction.rollback()
    return failed


@same(gives=["ALTER TYPE", True], schema=MOOD)
async def test_enum_value_alone(w: World) -> object:
    """ALTER TYPE ... ADD VALUE without its use, as in a migration."""
    one = await w.connect()
    status = await one.execute("ALTER TYPE mood ADD VALUE 'glad'")
    return [status, await one.fetchval("SELECT 'glad' IN (SELECT enumlabel FROM pg_enum)")]


@same(gives=["CREATE INDEX", "REINDEX", "CLUSTER", "ANALYZE"])
async def test_maintenance(w: World) -> object:
    """CREATE INDEX, REINDEX TABLE, CLUSTER and ANALYZE."""
    one = await w.connect()
    return [
        await one.execute(sql)
        for sql in (
            "CREATE INDEX i ON item (n)",
            "REINDEX TABLE item",
            "CLUSTER item USING i",
            "ANALYZE item",
        )
    ]


@refused(gives="CREATE INDEX", note=ALONE)
async def test_create_index_concurrently(w: World) -> object:
    """CREATE INDEX CONCURRENTLY."""
    return await (await w.connect()).execute("CREATE INDEX CONCURRENTLY i ON item (n)")


@refused(gives="DROP INDEX", note=ALONE, schema="CREATE INDEX i ON item (n)")
async def test_drop_index_concurrently(w: World) -> object:
    """DROP INDEX CONCURRENTLY."""
    return await (await w.connect()).execute("DROP INDEX CONCURRENTLY i")


@refused(gives="REINDEX", note=ALONE)
async def test_reindex_concurrently(w: World) -> object:
    """REINDEX CONCURRENTLY."""
    return await (await w.connect()).execute("REINDEX TABLE CONCURRENTLY item")


@refused(gives="VACUUM", note=ALONE)
async def test_vacuum(w: World) -> object:
    """VACUUM."""
    return await (await w.connect()).execute("VACUUM item")


@same(gives="ActiveSQLTransactionError")
async def test_vacuum_in_a_transaction(w: World) -> object:
    """VACUUM and its like in a transaction are errors."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    failed = await attempt(one.execute("VACUUM item"))
    await transaction.rollback()
    return failed


@refused(gives="ALTER SYSTEM", note=f"{ALONE} It changes the whole server: no test should.")
async def test_alter_system(w: World) -> object:
    """ALTER SYSTEM."""
    one = await w.connect()
    await one.execute("ALTER SYSTEM RESET application_name")
    return "ALTER SYSTEM"


@refused(gives="DROP DATABASE", note=f"{ALONE} Nor does commit isolation drop what it created.")
async def test_create_database(w: World) -> object:
    """CREATE DATABASE and DROP DATABASE."""
    one = await w.connect()
    name = await one.fetchval("SELECT current_database()") + "_2"
    await one.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    return await one.execute(f'DROP DATABASE "{name}"')


@same(gives=["a", "InvalidCachedStatementError", 5])
async def test_stale_plan(w: World) -> object:
    """A query whose result has got another type is an error in a transaction only."""
    one = await w.connect()
    await one.execute("INSERT INTO item (name) VALUES ('a')")
    found = [await one.fetchval("SELECT name FROM item")]
    transaction = one.transaction()
    await transaction.start()
    await one.execute("ALTER TABLE item ALTER name TYPE int USING 5")
    found.append(await attempt(one.fetchval("SELECT name FROM item")))
    await transaction.rollback()
    await one.execute("ALTER TABLE item ALTER name TYPE int USING 5")
    return [*found, await one.fetchval("SELECT name FROM item")]


@same(gives=[0, 1, 2])
async def test_materialised_view(w: World) -> object:
    """REFRESH MATERIALIZED VIEW, also CONCURRENTLY."""
    one = await w.connect()
    await one.execute("CREATE MATERIALIZED VIEW m AS SELECT name FROM item")
    await one.execute("CREATE UNIQUE INDEX ON m (name)")
    found = []
    for name, how in [("a", None), ("b", ""), ("c", "CONCURRENTLY")]:
        if how is not None:
            await one.execute(f"REFRESH MATERIALIZED VIEW {how} m")
        found.append(await one.fetchval("SELECT count(*) FROM m"))
        await one.execute("INSERT INTO item (name) VALUES ($1)", name)
    return found


@same(
    gives=["CREATE TABLE"],
    schema="""
        CREATE TABLE seen (tag text);
        CREATE FUNCTION seen() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO seen VALUES (tg_tag); END $$;
        CREATE EVENT TRIGGER seen ON ddl_command_end EXECUTE FUNCTION seen();
    """,
)
async def test_event_trigger(w: World) -> object:
    """Event triggers fire for what the program defines, and for nothing else."""
    one = await w.connect()
    async with one.transaction():
        await one.execute("CREATE TABLE t (x int)")
    return await one.fetchval("SELECT array_agg(tag) FROM seen")


@same(gives="COPY 1")
async def test_copy_freeze(w: World) -> object:
    """COPY ... FREEZE into a table that its transaction has just emptied."""
    one = await w.connect()
    await one.execute("INSERT INTO item (name) VALUES ('a')")
    async with one.transaction():
        await one.execute("TRUNCATE item")
        return await one.execute("COPY item (name) FROM PROGRAM 'echo a' (FREEZE)")
