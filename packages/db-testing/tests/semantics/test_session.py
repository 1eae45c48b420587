"""What belongs to a session: settings, roles, temporary tables, cursors, prepared statements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .table import attempt, different, refused, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "Session state"
SHARED = "All connections of a test are one session."
SHOW = "SHOW application_name"


@same(gives=["mine", "mine"])
async def test_set(w: World) -> object:
    """SET lasts on its connection, in and after transactions."""
    one = await w.connect()
    await one.execute("SET application_name = 'mine'")
    async with one.transaction():
        inside = await one.fetchval(SHOW)
    return [inside, await one.fetchval(SHOW)]


@same(gives=["mine", "inner", "mine"])
async def test_set_rolled_back(w: World) -> object:
    """SET in a transaction or savepoint that is rolled back is undone."""
    one = await w.connect()
    await one.execute("SET application_name = 'mine'")
    transaction = one.transaction()
    await transaction.start()
    await one.execute("SAVEPOINT s")
    await one.execute("SET application_name = 'lost'")
    await one.execute("ROLLBACK TO s")
    found = [await one.fetchval(SHOW)]
    await one.execute("SET application_name = 'inner'")
    found.append(await one.fetchval(SHOW))
    await transaction.rollback()
    return [*found, await one.fetchval(SHOW)]


@same(gives=[1, "x"])
async def test_read_only_transaction_and_others(w: World) -> object:
    """A cursor in a read-only transaction outlives another's error, and SET the failure of it."""
    one, two = await w.connect(), await w.connect()
    transaction = one.transaction(readonly=True)
    await transaction.start()
    await one.execute("DECLARE c CURSOR FOR SELECT 1")
    await attempt(two.execute("SELECT 1/0"))
    found = [await one.fetchval("FETCH c")]
    await two.execute("SET app.two = 'x'")
    await attempt(one.execute("INSERT INTO item (name) VALUES ('a')"))
    return [*found, await two.fetchval("SHOW app.two")]


@same(gives=["mine", 1, 1, 1])
async def test_what_outlasts_a_read_only_transaction(w: World) -> object:
    """SET, rows of temporary tables and cursors WITH HOLD outlast a read-only transaction."""
    one, two = await w.connect(), await w.connect()
    await one.execute("CREATE TEMP TABLE t (x int)")
    async with one.transaction(readonly=True):
        await one.execute("SET application_name = 'mine'")
    async with one.transaction(readonly=True):
        await one.execute("INSERT INTO t VALUES (1)")
    async with one.transaction(readonly=True):
        await one.execute("DECLARE c CURSOR WITH HOLD FOR SELECT 1")
    transaction = two.transaction()
    await transaction.start()
    await two.execute("INSERT INTO item (name) VALUES ('a')")
    await transaction.rollback()
    await two.execute("INSERT INTO item (name) VALUES ('b')")
    return [
        await one.fetchval(SHOW),
        await one.fetchval("SELECT count(*) FROM t"),
        await one.fetchval("FETCH c"),
        await two.fetchval("SELECT count(*) FROM item"),
    ]


@refused(
    gives="mine",
    note="The server lets nobody write above a read-only savepoint, and a return beneath it "
    "would undo the setting.",
    error="SandboxConflictError",
)
async def test_write_above_a_read_only_transaction(w: World) -> object:
    """A write while another transaction is open that is read-only and has set something."""
    one, two = await w.connect(), await w.connect()
    async with one.transaction(readonly=True):
        await one.execute("SET application_name = 'mine'")
        await two.execute("INSERT INTO item (name) VALUES ('a')")
        return await one.fetchval(SHOW)


@same(gives=["local", "session"])
async def test_set_local(w: World) -> object:
    """SET LOCAL and set_config(..., true) last until their transaction ends."""
    one = await w.connect()
    await one.execute("SET application_name = 'session'")
    async with one.transaction():
        await one.execute("SET LOCAL application_name = 'lost'")
        await one.fetchval("SELECT set_config('application_name', 'local', true)")
        inside = await one.fetchval(SHOW)
    return [inside, await one.fetchval(SHOW)]


@same(gives=["7", ""])
async def test_tenant(w: World) -> object:
    """A setting of the application's own, for its transaction, as row security uses it."""
    one = await w.connect()
    async with one.transaction():
        await one.fetchval("SELECT set_config('app.tenant', $1, true)", "7")
        inside = await one.fetchval("SELECT current_setting('app.tenant')")
    return [inside, await one.fetchval("SELECT current_setting('app.tenant', true)")]


@different(
    gives=None,
    here="",
    note="The server remembers the name of a setting, empty, for as long as the session lives, "
    "and all connections of all tests are one session. Under commit isolation, too, a session "
    "serves one test after another, as it serves one request after another in a pool.",
)
async def test_tenant_elsewhere(w: World) -> object:
    """current_setting(..., true) of a setting that only another connection has had is null."""
    one, two = await w.connect(), await w.connect()
    async with one.transaction():
        await one.execute("SET LOCAL app.tenant = '7'")
    return await two.fetchval("SELECT current_setting('app.tenant', true)")


@same(
    gives=["7", ""],
    schema="""
        CREATE FUNCTION become(tenant text) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN PERFORM set_config('app.tenant', tenant, true); END $$;
    """,
)
async def test_tenant_by_function(w: World) -> object:
    """A setting that a function of the database's own makes for its transaction."""
    one = await w.connect()
    async with one.transaction():
        await one.fetchval("SELECT become('7')")
        inside = await one.fetchval("SELECT current_setting('app.tenant')")
    return [inside, await one.fetchval("SELECT current_setting('app.tenant', true)")]


@same(gives=["7", ""])
async def test_tenant_of_many_arguments(w: World) -> object:
    """set_config(..., true) run once for each of many arguments."""
    one = await w.connect()
    async with one.transaction():
        await one.executemany("SELECT set_config($1, $2, true)", [("app.tenant", "7")])
        inside = await one.fetchval("SELECT current_setting('app.tenant')")
    return [inside, await one.fetchval("SELECT current_setting('app.tenant', true)")]


@refused(gives="7", note="The text must tell what a commit is to put back.")
async def test_tenant_of_a_computed_name(w: World) -> object:
    """set_config(..., true) of a name that is computed, or comes from a column."""
    one = await w.connect()
    async with one.transaction():
        await one.fetchval("SELECT set_config('app.' || $1, '7', true)", "tenant")
        return await one.fetchval("SELECT current_setting('app.tenant')")


@refused(gives="2", error="SandboxConflictError", note=SHARED)
async def test_tenants_that_overlap(w: World) -> object:
    """A commit, after another transaction that is open has set the same by SET LOCAL."""
    one, two = await w.connect(), await w.connect()
    first, second = one.transaction(), two.transaction()
    await first.start()
    await one.execute("SET LOCAL app.tenant = '1'")
    await second.start()
    await two.execute("SET LOCAL app.tenant = '2'")
    await first.commit()
    found = await two.fetchval("SELECT current_setting('app.tenant')")
    await second.rollback()
    return found


@different(gives="", here="mine", note=SHARED)
async def test_set_elsewhere(w: World) -> object:
    """SET on one connection is not seen on another."""
    one, two = await w.connect(), await w.connect()
    await one.execute("SET application_name = 'mine'")
    return await two.fetchval(SHOW)


@same(gives=["pg_monitor", True, True])
async def test_role(w: World) -> object:
    """SET ROLE and SET LOCAL ROLE."""
    one = await w.connect()
    before = await one.fetchval("SELECT current_user")
    async with one.transaction():
        await one.execute("SET LOCAL ROLE pg_monitor")
        inside = await one.fetchval("SELECT current_user")
    after = await one.fetchval("SELECT current_user")
    await one.execute("SET ROLE pg_monitor")
    await one.execute("RESET ROLE")
    return [inside, before == after, before == await one.fetchval("SELECT current_user")]


@same(
    gives=["a"],
    schema="""
        CREATE ROLE db_testing_semantics;
        GRANT ALL ON item TO db_testing_semantics;
        ALTER TABLE item ENABLE ROW LEVEL SECURITY;
        CREATE POLICY tenant ON item USING (n = current_setting('app.tenant')::int);
        INSERT INTO item (name, n) VALUES ('a', 1), ('b', 2);
    """,
)
async def test_row_security(w: World) -> object:
    """Row security by role and setting."""
    one, outside = await w.connect(), await w.outside()
    try:
        async with one.transaction():
            await one.execute("SET LOCAL ROLE db_testing_semantics")
            await one.execute("SET LOCAL app.tenant = '1'")
            names = await one.fetchval("SELECT array_agg(name) FROM item")
    finally:
        if not hasattr(one, "_sandbox"):  # roles are the whole server's
            await outside.execute("DROP OWNED BY db_testing_semantics")
            await outside.execute("DROP ROLE db_testing_semantics")
    return names


@same(gives=["two", "UndefinedTableError"], schema="CREATE SCHEMA s; CREATE TABLE s.two (x int)")
async def test_search_path(w: World) -> object:
    """search_path, for a transaction."""
    one = await w.connect()
    async with one.transaction():
        await one.execute("SET LOCAL search_path = s")
        found = await one.fetchval("SELECT 'two'::regclass::text")
    return [found, await attempt(one.fetchval("SELECT 'two'::regclass::text"))]


@same(gives=[["a"], "UndefinedTableError"])
async def test_temporary_table(w: World) -> object:
    """A temporary table lasts over transactions, and goes with a rollback."""
    one = await w.connect()
    await one.execute("CREATE TEMP TABLE t AS SELECT 'a' AS name")
    async with one.transaction():
        found = await one.fetchval("SELECT array_agg(name) FROM t")
    transaction = one.transaction()
    await transaction.start()
    await one.execute("CREATE TEMP TABLE u AS SELECT 'b' AS name")
    await transaction.rollback()
    return [found, await attempt(one.fetchval("SELECT name FROM u"))]


@different(gives="UndefinedTableError", here="a", note=SHARED)
async def test_temporary_table_elsewhere(w: World) -> object:
    """A temporary table is not seen on another connection."""
    one, two = await w.connect(), await w.connect()
    await one.execute("CREATE TEMP TABLE t AS SELECT 'a' AS name")
    return await attempt(two.fetchval("SELECT name FROM t"))


@same(gives=[[1, "UndefinedTableError"]] * 2)
async def test_on_commit_drop(w: World) -> object:
    """A temporary table ON COMMIT DROP is gone after the commit, and can be made again."""
    one = await w.connect()
    found = []
    for _ in range(2):
        async with one.transaction():
            await one.execute("CREATE TEMP TABLE t (x int) ON COMMIT DROP")
            await one.execute("INSERT INTO t VALUES (1)")
            inside = await one.fetchval("SELECT count(*) FROM t")
        found.append([inside, await attempt(one.fetchval("SELECT count(*) FROM t"))])
    return found


@refused(gives=[1, 0, 1, 0], note="The server would do so at the end of the outer transaction.")
async def test_on_commit_delete_rows(w: World) -> object:
    """A temporary table ON COMMIT DELETE ROWS is empty after each commit."""
    one = await w.connect()
    await one.execute("CREATE TEMPORARY TABLE t (x int) ON COMMIT DELETE ROWS")
    found = []
    for _ in range(2):
        async with one.transaction():
            await one.execute("INSERT INTO t VALUES (1)")
            found.append(await one.fetchval("SELECT count(*) FROM t"))
        found.append(await one.fetchval("SELECT count(*) FROM t"))
    return found


@same(gives=["a", "a", "InvalidSQLStatementNameError"])
async def test_prepare(w: World) -> object:
    """PREPARE and DEALLOCATE in raw SQL, over transactions."""
    one = await w.connect()
    async with one.transaction():
        await one.execute("PREPARE p AS SELECT 'a'")
        first = await one.fetchval("EXECUTE p")
    second = await one.fetchval("EXECUTE p")
    await one.execute("DEALLOCATE p")
    return [first, second, await attempt(one.execute("EXECUTE p"))]


@different(gives="InvalidSQLStatementNameError", here="a", note=SHARED)
async def test_prepare_elsewhere(w: World) -> object:
    """A statement prepared in raw SQL is unknown to another connection."""
    one, two = await w.connect(), await w.connect()
    await one.execute("PREPARE db_testing_p AS SELECT 'a'")
    try:
        return await attempt(two.fetchval("EXECUTE db_testing_p"))
    finally:
        await one.execute("DEALLOCATE db_testing_p")


@same(gives=[1, 2])
async def test_driver_prepared(w: World) -> object:
    """A statement prepared by the driver, over transactions."""
    one = await w.connect()
    statement = await one.prepare("SELECT $1::int")
    async with one.transaction():
        first = await statement.fetchval(1)
    return [first, await statement.fetchval(2)]


@same(gives=["a", "b", "p", "p"])
async def test_driver_prepared_name(w: World) -> object:
    """A name given to the driver's prepare() is the connection's own."""
    one, two = await w.connect(), await w.connect()
    statements = [
        await one.prepare("SELECT 'a'", name="p"),
        await two.prepare("SELECT 'b'", name="p"),
    ]
    values = [await statement.fetchval() for statement in statements]
    return [*values, *(statement.get_name() for statement in statements)]


@same(gives=["DuplicatePreparedStatementError", "InFailedSQLTransactionError", 1])
async def test_driver_prepared_name_twice(w: World) -> object:
    """A name given to the driver's prepare() twice on a connection is an error."""
    one = await w.connect()
    statement = await one.prepare("SELECT 1", name="p")
    transaction = one.transaction()
    await transaction.start()
    found = [
        await attempt(one.prepare("SELECT 2", name="p")),
        await attempt(one.fetchval("SELECT 3")),
    ]
    await transaction.rollback()
    return [*found, await statement.fetchval()]


@different(
    gives=1,
    here="InvalidSQLStatementNameError",
    note="All connections of a test are one session: the driver chooses a name that no other has.",
)
async def test_driver_prepared_in_sql(w: World) -> object:
    """EXECUTE of a name given to the driver's prepare()."""
    one = await w.connect()
    statement = await one.prepare("SELECT 1", name="p")
    try:
        return await attempt(one.fetchval("EXECUTE p"))
    finally:
        del statement


@same(gives=[1, 2])
async def test_cursor(w: World) -> object:
    """A cursor in its transaction."""
    one = await w.connect()
    async with one.transaction():
        await one.execute("DECLARE c CURSOR FOR SELECT generate_series(1, 3)")
        return [await one.fetchval("FETCH c"), await one.fetchval("FETCH c")]


@same(gives=[1, 2])
async def test_cursor_with_hold(w: World) -> object:
    """A cursor WITH HOLD outlives its transaction."""
    one = await w.connect()
    async with one.transaction():
        await one.execute("DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 3)")
        first = await one.fetchval("FETCH c")
    return [first, await one.fetchval("FETCH c")]


@same(gives=[1, "InvalidCursorNameError", "NoActiveSQLTransactionError"])
async def test_cursor_after(w: World) -> object:
    """A cursor without hold ends with its transaction, and needs one."""
    one = await w.connect()
    async with one.transaction():
        await one.execute("DECLARE c CURSOR FOR SELECT generate_series(1, 3)")
        first = await one.fetchval("FETCH c")
    return [
        first,
        await attempt(one.fetchval("FETCH c")),
        await attempt(one.execute("DECLARE d CURSOR FOR SELECT 1")),
    ]


@same(gives=[[1, 2], "NoActiveSQLTransactionError"])
async def test_driver_cursor(w: World) -> object:
    """The driver's cursors, in a transaction and outside."""
    one = await w.connect()
    async with one.transaction():
        cursor = await one.cursor("SELECT generate_series(1, 2)")
        rows = [row[0] for row in await cursor.fetch(5)]

    async def outside() -> object:
        return await one.cursor("SELECT 1")

    return [rows, await attempt(outside())]


@refused(gives="", note="It would reset what all connections of the test share.")
async def test_discard_all(w: World) -> object:
    """DISCARD ALL."""
    one = await w.connect()
    await one.execute("SET application_name = 'mine'")
    await one.execute("DISCARD ALL")
    return await one.fetchval(SHOW)


@refused(gives="InvalidSQLStatementNameError", note="It would forget what all connections share.")
async def test_deallocate_all(w: World) -> object:
    """DEALLOCATE ALL."""
    one = await w.connect()
    await one.execute("PREPARE p AS SELECT 'a'")
    await one.execute("DEALLOCATE ALL")
    return await attempt(one.execute("EXECUTE p"))
