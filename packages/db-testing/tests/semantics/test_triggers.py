"""What triggers do, and routines of the program's own, without a word of it in the statements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .table import attempt, different, refused, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "What triggers and a test's own routines do"

SHOW = "SELECT current_setting('app.who', true)"
COUNT = "SELECT count(*) FROM item"


def trigger(body: str) -> str:
    """Return the SQL that makes a trigger on `item` with a body in PL/pgSQL."""
    return f"""
        CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN {body}; RETURN NEW; END $$;
        CREATE TRIGGER fired BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION fired();
    """


def routine(body: str) -> str:
    """Return the SQL that makes a function with a body in PL/pgSQL."""
    return f"""
        CREATE FUNCTION run() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {body}; END $$;
    """


LOCAL = "PERFORM set_config('app.who', 'a', true)"
SET_LOCAL = "SET LOCAL app.who = 'a'"
EXECUTED = "EXECUTE format('SET LOCAL app.who = %L', 'a')"
SESSION = "PERFORM set_config('app.who', 'a', false)"
TEMPORARY = "CREATE TEMP TABLE seen (x int) ON COMMIT DROP"


async def inserted(w: World, sql: str = "INSERT INTO item (name) VALUES ('a')") -> object:
    """Run a statement in a transaction; return the setting in it and after it."""
    one = await w.connect()
    async with one.transaction():
        await one.execute(sql)
        inside = await one.fetchval(SHOW)
    return [inside, await one.fetchval(SHOW)]


@same(gives=["a", ""], schema=trigger(LOCAL))
async def test_trigger_sets_locally(w: World) -> object:
    """A trigger's set_config(..., true) lasts until its transaction ends."""
    return await inserted(w)


@same(gives=["a", ""], schema=trigger(EXECUTED))
async def test_trigger_sets_by_execute(w: World) -> object:
    """So does a SET LOCAL that a trigger makes up and executes."""
    return await inserted(w)


@same(gives=["a", "a"], schema=trigger(SESSION))
async def test_trigger_sets_for_the_session(w: World) -> object:
    """A trigger's set_config(..., false) lasts."""
    return await inserted(w)


@same(gives=["b", "b"], schema=trigger(LOCAL))
async def test_set_after_a_trigger(w: World) -> object:
    """SET lasts, also after a trigger's set_config(..., true) in the same transaction."""
    return await inserted(w, "INSERT INTO item (name) VALUES ('a'); SET app.who = 'b'")


@same(gives=[None, None], schema=trigger(LOCAL))
async def test_trigger_that_does_not_fire(w: World) -> object:
    """A setting that only a trigger makes is unknown until it fires."""
    return await inserted(w, "UPDATE item SET n = 1")


@same(
    gives=[0, 1, 2],
    schema=trigger(
        "IF to_regclass('pg_temp.seen') IS NOT NULL THEN RAISE 'left'; END IF;" + TEMPORARY
    ),
)
async def test_trigger_makes_a_temporary_table(w: World) -> object:
    """A trigger's temporary table ON COMMIT DROP is gone after each commit."""
    one = await w.connect()
    found = [await one.fetchval(COUNT)]
    for name in "ab":
        await one.execute("INSERT INTO item (name) VALUES ($1)", name)
        found.append(await one.fetchval(COUNT))
    return found


@same(gives=[1, 1], schema=routine(TEMPORARY))
async def test_routine_makes_a_temporary_table(w: World) -> object:
    """A function's temporary table ON COMMIT DROP is gone after each commit."""
    one = await w.connect()
    return [await one.fetchval("SELECT 1 FROM run()") for _ in range(2)]


@same(gives=["a", ""], schema=routine(EXECUTED))
async def test_routine_sets_by_execute(w: World) -> object:
    """A SET LOCAL that a function makes up and executes lasts until its transaction ends."""
    return await inserted(w, "SELECT run()")


@same(gives=["a", ""])
async def test_do_sets_locally(w: World) -> object:
    """So does one in a DO block."""
    return await inserted(w, f"DO $$ BEGIN {SET_LOCAL}; END $$")


@same(gives=[None, None])
async def test_do_makes_a_temporary_table(w: World) -> object:
    """A temporary table ON COMMIT DROP of a DO block is gone after the commit."""
    one = await w.connect()
    for _ in range(2):
        await one.execute(f"DO $$ BEGIN {TEMPORARY}; END $$")
    return [await one.fetchval("SELECT to_regclass('pg_temp.seen')") for _ in range(2)]


@same(gives=["a", ""])
async def test_own_routine_sets_locally(w: World) -> object:
    """What a function that the program has defined sets for its transaction ends with it."""
    one = await w.connect()
    await one.execute(routine(SET_LOCAL))
    try:
        async with one.transaction():
            await one.execute("SELECT run()")
            inside = await one.fetchval(SHOW)
        return [inside, await one.fetchval(SHOW)]
    finally:
        await one.execute("DROP FUNCTION run")


@same(gives=["a", ""])
async def test_own_trigger_sets_locally(w: World) -> object:
    """And what a trigger that the program has defined sets."""
    one = await w.connect()
    await one.execute(trigger(SET_LOCAL))
    try:
        async with one.transaction():
            await one.execute("INSERT INTO item (name) VALUES ('a')")
            inside = await one.fetchval(SHOW)
        return [inside, await one.fetchval(SHOW)]
    finally:
        await one.execute("DROP TRIGGER fired ON item; DROP FUNCTION fired")


@same(
    gives=[1, 0],
    schema="CREATE FUNCTION add() RETURNS int LANGUAGE sql AS "
    "$$ INSERT INTO item (name) VALUES ('a') RETURNING 1 $$",
)
async def test_own_view_that_writes(w: World) -> object:
    """What a view of the program's own writes, by a function, is rolled back."""
    one = await w.connect()
    await one.execute("CREATE VIEW adding AS SELECT add() AS n")
    try:
        transaction = one.transaction()
        await transaction.start()
        found = await one.fetchval("SELECT n FROM adding")
        await transaction.rollback()
        return [found, await one.fetchval(COUNT)]
    finally:
        await one.execute("DROP VIEW adding")


TAKE = """
    CREATE FUNCTION take() RETURNS int LANGUAGE sql AS
    $$ SELECT id FROM item ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED $$;
    INSERT INTO item (name) VALUES ('a')
"""


@refused(gives=[1, None], schema=TAKE, note="A connection does not see its own locks.")
async def test_routine_that_skips_locked_rows(w: World) -> object:
    """A function with FOR UPDATE SKIP LOCKED while another transaction of the task holds rows."""
    one, two = await w.connect(), await w.connect()
    async with one.transaction(), two.transaction():
        return [await one.fetchval("SELECT take()"), await two.fetchval("SELECT take()")]


@same(gives=["UniqueViolationError", [3, 3]], schema=trigger("NEW.n := nextval('item_id_seq')"))
async def test_trigger_draws_numbers(w: World) -> object:
    """The numbers that a trigger draws are drawn also if its statement fails."""
    one = await w.connect()
    failed = await attempt(one.execute("INSERT INTO item (id, name) VALUES (9, 'a'), (10, 'a')"))
    await one.execute("INSERT INTO item (id, name) VALUES (9, 'a')")
    return [
        failed,
        [
            await one.fetchval("SELECT n FROM item"),
            await one.fetchval("SELECT last_value FROM item_id_seq"),
        ],
    ]


COMPUTED = "PERFORM set_config('app.' || 'who', 'a', true)"


@different(
    gives=["a", ""],
    here=["a", "a"],
    schema=trigger(COMPUTED),
    note="Nothing tells which triggers a statement fires, nor what such a one has set, so that "
    "no commit can put it back; refused would be every write.",
)
async def test_trigger_sets_a_computed_name(w: World) -> object:
    """A trigger's set_config(..., true) of a name that is computed."""
    return await inserted(w)


@refused(gives=["a", ""], note="The text must tell what a commit is to put back.")
async def test_own_function_sets_a_computed_name(w: World) -> object:
    """A call of a function that the program has defined, and that computes a setting's name."""
    one = await w.connect()
    await one.execute(routine(COMPUTED))
    return await inserted(w, "SELECT run()")


@same(
    gives=["a", "a"],
    schema="""
        CREATE FUNCTION run() RETURNS text LANGUAGE sql STABLE
        AS $$ SELECT set_config('app.who', 'a', false) $$
    """,
)
async def test_stable_function_sets_for_the_session(w: World) -> object:
    """A function's set_config(..., false) lasts, also if another transaction is rolled back."""
    one, two = await w.connect(), await w.connect()
    async with one.transaction():
        await one.execute("SELECT run()")
        inside = await one.fetchval(SHOW)
    transaction = two.transaction()
    await transaction.start()
    await two.execute("INSERT INTO item (name) VALUES ('a')")
    await transaction.rollback()
    return [inside, await one.fetchval(SHOW)]


@same(gives=["a", "a"], schema=routine(SESSION))
async def test_function_sets_for_the_session(w: World) -> object:
    """So it does after a SET LOCAL in the same transaction."""
    return await inserted(w, "SET LOCAL app.who = 'b'; SELECT run()")
