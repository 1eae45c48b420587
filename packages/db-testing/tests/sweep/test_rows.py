"""What a sweep restores: whatever tests commit, in whatever table, the template's state is back."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import asyncpg
import psycopg
import pytest

from db_testing._isolation import _sweep
from db_testing._isolation._sweep import Sweep
from db_testing._server._admin import Admin, connect, disconnect, libpq_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

    from db_testing._isolation._real import RealConnection
    from db_testing._isolation._sweep import Connection, Swept

    from .conftest import Database


class Case(NamedTuple):
    """A schema, and what a test commits in it."""

    schema: str
    work: str
    superuser: bool = False
    """Whether it takes a superuser to undo it."""
    seen: bool = True
    """Whether it changes any row."""


SERIAL = "CREATE TABLE t (id serial PRIMARY KEY, x text)"
SEEDED = f"{SERIAL}; INSERT INTO t (x) VALUES ('a'), ('b'), (NULL)"

WAITING = (
    "CREATE TABLE u (x int)",
    (
        "CREATE FUNCTION waits(int) RETURNS boolean LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN true; END$$"
    ),
    "CREATE TABLE t (x int CHECK (waits(x)))",
    "INSERT INTO t VALUES (1)",
)
WAITS = """
    SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
        WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted)
"""

CASES = {
    "a row": Case(SERIAL, "INSERT INTO t (x) VALUES ('a')"),
    "rows through COPY and its kin": Case(
        SERIAL, "INSERT INTO t (x) SELECT g FROM generate_series(1, 500) g"
    ),
    "in another schema": Case(
        'CREATE SCHEMA "Other s"; CREATE TABLE "Other s"."T 1" ("a b" int)',
        'INSERT INTO "Other s"."T 1" VALUES (1)',
    ),
    "partitions": Case(
        "CREATE TABLE p (k int, v int) PARTITION BY LIST (k);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE pd PARTITION OF p DEFAULT;"
        "INSERT INTO p VALUES (1, 1), (2, 2)",
        "INSERT INTO p VALUES (1, 3); UPDATE p SET k = 1 WHERE k = 2; DELETE FROM p WHERE v = 1",
    ),
    "inheritance": Case(
        "CREATE TABLE a (x int); CREATE TABLE b (y int) INHERITS (a); INSERT INTO a VALUES (1)",
        "INSERT INTO b VALUES (1, 2); INSERT INTO a VALUES (3); UPDATE a SET x = 4",
    ),
    "generated and identity columns": Case(
        "CREATE TABLE g (id int GENERATED ALWAYS AS IDENTITY, a int,"
        " b int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO g (a) VALUES (1), (2)",
        "INSERT INTO g (a) VALUES (3); UPDATE g SET a = 9 WHERE a = 1; DELETE FROM g WHERE a = 2",
    ),
    "keys in a cycle": Case(
        "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY,"
        " a int REFERENCES a); ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b",
        "INSERT INTO a VALUES (1, NULL); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1",
    ),
    "keys of every kind": Case(
        "CREATE TABLE p (id int PRIMARY KEY);"
        "CREATE TABLE r (p int REFERENCES p ON DELETE RESTRICT);"
        "CREATE TABLE c (p int REFERENCES p ON DELETE CASCADE);"
        "CREATE TABLE n (p int REFERENCES p ON DELETE SET NULL)",
        "INSERT INTO p VALUES (1), (2); INSERT INTO r VALUES (1); INSERT INTO c VALUES (1);"
        "INSERT INTO n VALUES (2)",
    ),
    "a key to a row of the template": Case(
        f"{SEEDED}; CREATE TABLE c (t int REFERENCES t)", "INSERT INTO c VALUES (1), (3)"
    ),
    "a row of the template that others refer to": Case(
        f"{SEEDED}; CREATE TABLE c (t int REFERENCES t); INSERT INTO c VALUES (1)",
        "UPDATE t SET x = 'changed' WHERE id = 1",
        superuser=True,
    ),
    "rows that a key takes along when those they refer to are put back": Case(
        "CREATE TABLE c (id int, p int); CREATE TABLE n (id int, p int);"
        "CREATE TABLE p (id int PRIMARY KEY, x text);"
        "ALTER TABLE c ADD FOREIGN KEY (p) REFERENCES p ON DELETE CASCADE;"
        "ALTER TABLE n ADD FOREIGN KEY (p) REFERENCES p ON DELETE SET NULL;"
        "INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES (1, 1); INSERT INTO n VALUES (1, 1)",
        "UPDATE c SET id = 2; UPDATE n SET id = 2; UPDATE p SET x = 'b'",
    ),
    "a large table whose trigger forbids TRUNCATE": Case(
        f"{SERIAL}; CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE 'never'; END$$;"
        "CREATE TRIGGER nor BEFORE TRUNCATE ON t EXECUTE FUNCTION never()",
        "INSERT INTO t (x) SELECT repeat('x', 100) FROM generate_series(1, 40000)",
    ),
    "a trigger that forbids DELETE": Case(
        f"{SERIAL}; CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE 'never'; END$$;"
        "CREATE TRIGGER never BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION never();"
        "CREATE TRIGGER nor BEFORE TRUNCATE ON t EXECUTE FUNCTION never()",
        "INSERT INTO t (x) VALUES ('a')",
    ),
    "a trigger that writes": Case(
        f"{SEEDED}; CREATE TABLE log (x text); CREATE FUNCTION note() RETURNS trigger"
        " LANGUAGE plpgsql AS $$BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END$$;"
        "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW"
        " EXECUTE FUNCTION note()",
        "INSERT INTO t (x) VALUES ('c'); DELETE FROM t WHERE id = 1",
    ),
    "a rule": Case(
        f"{SERIAL}; CREATE RULE keep AS ON DELETE TO t DO INSTEAD NOTHING",
        "INSERT INTO t (x) VALUES ('a')",
        superuser=True,
    ),
    "row-level security": Case(
        f"{SERIAL}; ALTER TABLE t ENABLE ROW LEVEL SECURITY", "INSERT INTO t (x) VALUES ('a')"
    ),
    "row-level security for the owner too": Case(
        f"{SERIAL}; CREATE POLICY mine ON t FOR INSERT WITH CHECK (true);"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "INSERT INTO t (x) VALUES ('a')",
        superuser=True,
    ),
    "an unlogged table": Case("CREATE UNLOGGED TABLE u (x int)", "INSERT INTO u VALUES (1)"),
    "a large table": Case(
        SERIAL, "INSERT INTO t (x) SELECT repeat('x', 100) FROM generate_series(1, 40000)"
    ),
    "a large table that is referred to": Case(
        f"{SERIAL}; CREATE TABLE c (t int REFERENCES t)",
        "INSERT INTO t (x) SELECT repeat('x', 100) FROM generate_series(1, 40000);"
        "INSERT INTO c VALUES (7)",
    ),
    "functions of constraints that name others without a schema": Case(
        "CREATE FUNCTION lowest() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION fits(int) RETURNS boolean LANGUAGE plpgsql AS"
        " $$BEGIN RETURN $1 >= lowest(); END$$;"
        "CREATE TABLE c (id int, x int CHECK (fits(x))); INSERT INTO c VALUES (1, 1), (2, 2)",
        "UPDATE c SET x = 5 WHERE id = 1; DELETE FROM c WHERE id = 2",
    ),
    "functions of constraints that need the database's path": Case(
        "CREATE SCHEMA app; SET search_path = app;"
        "CREATE FUNCTION fewest() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION fits(int) RETURNS boolean LANGUAGE plpgsql AS"
        " $$BEGIN RETURN $1 >= fewest(); END$$;"
        "CREATE TABLE c (id int, x int CHECK (fits(x))); INSERT INTO c VALUES (1, 1), (2, 2);"
        "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = app, public',"
        " current_database()); END$$",
        "SET search_path = app; UPDATE c SET x = 5 WHERE id = 1; DELETE FROM c WHERE id = 2",
    ),
    "large values": Case(
        SEEDED,
        "UPDATE t SET x = (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 9999) g)",
    ),
    "TRUNCATE": Case(SEEDED, "TRUNCATE t RESTART IDENTITY"),
    "TRUNCATE and more": Case(SERIAL, "TRUNCATE t; INSERT INTO t (x) VALUES ('a')"),
    "rows of the template": Case(
        SEEDED, "UPDATE t SET x = 'c' WHERE id = 1; DELETE FROM t WHERE id = 2"
    ),
    "rows without a key, twice": Case(
        "CREATE TABLE d (x json); INSERT INTO d VALUES ('{}'), ('{}'), ('[1,  2]')",
        "INSERT INTO d VALUES ('{}'); DELETE FROM d WHERE x::text <> '{}'",
    ),
    "as many rows without a key, but others": Case(
        "CREATE TABLE d (x json); INSERT INTO d VALUES ('{}'), ('{}'), ('[1,  2]')",
        "DELETE FROM d WHERE ctid = (SELECT min(ctid) FROM d); INSERT INTO d VALUES ('[1,  2]')",
    ),
    "what few digits do not show": Case(
        "CREATE TABLE f (x float8); INSERT INTO f VALUES (0.1::float8 + 0.2);"
        "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET extra_float_digits = -3',"
        " current_database()); END$$",
        "UPDATE f SET x = 0.3",
    ),
    "what settings of the database let be read otherwise": Case(
        "CREATE TABLE s (x timestamptz, y text[]);"
        "INSERT INTO s VALUES ('2020-06-01 00:00+00', '{a,NULL}');"
        "DO $$BEGIN EXECUTE format('ALTER DATABASE %1$I SET datestyle = SQL;"
        " ALTER DATABASE %1$I SET timezone = ''Asia/Kolkata'';"  # its IST is Israel's too
        " ALTER DATABASE %1$I SET array_nulls = off', current_database()); END$$",
        "DELETE FROM s",
    ),
    "settings of the database that would be in the way": Case(
        f"{SEEDED}; DO $$BEGIN EXECUTE format('ALTER DATABASE %1$I SET statement_timeout = 1;"
        " ALTER DATABASE %1$I SET idle_session_timeout = 10;"
        " ALTER DATABASE %1$I SET idle_in_transaction_session_timeout = 1;"
        " ALTER DATABASE %1$I SET default_transaction_read_only = on;"
        " ALTER DATABASE %1$I SET default_transaction_isolation = serializable',"
        " current_database()); IF current_setting('server_version_num')::int >= 170000 THEN EXECUTE"
        " format('ALTER DATABASE %I SET transaction_timeout = 1', current_database());"
        " END IF; END$$",
        "UPDATE t SET x = 'c' WHERE id = 1; SELECT pg_sleep(0.05)",  # the sweep's is idle as long
    ),
    "a setting of the database that quotes every name": Case(
        f"{SEEDED}; DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET quote_all_identifiers = on',"
        " current_database()); END$$",
        "TRUNCATE t; SELECT lo_create(0)",
    ),
    "names of relations among the rows": Case(
        "CREATE TABLE n (id int, r regclass); INSERT INTO n VALUES (1, 'n'), (2, 'n'), (3, NULL)",
        "UPDATE n SET r = NULL WHERE id = 1; DELETE FROM n WHERE id = 3",
    ),
    "names of relations in a materialised view": Case(
        f"{SEEDED}; CREATE MATERIALIZED VIEW m AS SELECT tableoid::regclass AS r, x FROM t",
        "INSERT INTO t (x) VALUES ('c'); REFRESH MATERIALIZED VIEW m",
    ),
    "types without an equality": Case(
        "CREATE TABLE y (a point, b jsonpath, c int[], d tstzrange, e float, f bytea, g name);"
        "INSERT INTO y VALUES ('(1,2)', '$.a', '{1,NULL}', '[now,)', 0.1 + 0.2, 'ab', 'n')",
        "UPDATE y SET a = NULL",
    ),
    "a materialised view": Case(
        f"{SEEDED}; CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t;"
        "CREATE MATERIALIZED VIEW mm AS SELECT * FROM m",
        "INSERT INTO t (x) VALUES ('c'); REFRESH MATERIALIZED VIEW m; REFRESH MATERIALIZED VIEW mm",
    ),
    "a materialised view, concurrently": Case(
        f"{SEEDED}; CREATE MATERIALIZED VIEW m AS SELECT id FROM t; CREATE UNIQUE INDEX ON m (id)",
        "INSERT INTO t (x) VALUES ('c'); REFRESH MATERIALIZED VIEW CONCURRENTLY m",
    ),
    "sequences": Case(
        "CREATE SEQUENCE s START 5 INCREMENT 5; CREATE SEQUENCE used; SELECT nextval('used');"
        "CREATE SEQUENCE cached CACHE 10",
        "SELECT setval('s', 100); SELECT nextval('used'), nextval('cached')",
    ),
    "large objects": Case(SERIAL, "SELECT lo_from_bytea(0, 'abc')"),
    "storage that was written anew": Case(SEEDED, "VACUUM FULL t; REINDEX TABLE t", seen=False),
    "temporary tables": Case(
        SERIAL, "CREATE TEMP TABLE q (a int); INSERT INTO q VALUES (1)", seen=False
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sweep_restores(database: Database, role: str, case: Case) -> None:
    """What was committed is undone, twice in a row, without a new database."""
    database.execute(case.schema)
    before = database.content()
    database.sweep.begin()
    for _ in range(2):
        database.execute(*case.work.split(";"))
        assert (database.content() != before) is case.seen
        swept = database.run()
        if case.superuser and role == "owner":
            assert swept.reason is not None
            return
        assert swept == (None, [])
        assert database.content() == before


CHANGES = {
    "a table": ("", "CREATE TABLE n (a int)", "schema"),
    "a column": (SERIAL, "ALTER TABLE t ADD y int", "schema"),
    "a function": ("", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "schema"),
    "an index": (SERIAL, "CREATE INDEX CONCURRENTLY ON t (x)", "schema"),
    "a default": (SERIAL, "ALTER TABLE t ALTER x SET DEFAULT 'a'", "schema"),
    "a comment": (SERIAL, "COMMENT ON TABLE t IS 'new'", "schema"),
    "a privilege": (SERIAL, "GRANT SELECT ON t TO public", "schema"),
    "a label": ("CREATE TYPE e AS ENUM ('a')", "ALTER TYPE e ADD VALUE 'b'", "schema"),
    "a sequence's definition": (SERIAL, "ALTER SEQUENCE t_id_seq INCREMENT 7", "schema"),
    "a disabled trigger": (
        (
            f"{SERIAL}; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RETURN NEW; END$$;"
            "CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        "ALTER TABLE t DISABLE TRIGGER f",
        "schema",
    ),
    "statistics": (SERIAL, "CREATE STATISTICS s ON id, x FROM t", "schema"),
    "a publication": ("", "CREATE PUBLICATION p", "schema"),
    "a large object of the template": (
        "SELECT lo_from_bytea(7, 'abc')",
        "SELECT lo_put(7, 0, 'x')",
        "schema was changed (pg_catalog.pg_largeobject)",
    ),
    "a setting of the database": ("", "ALTER DATABASE {name} SET work_mem = '1MB'", "settings"),
    "a comment on the database": ("", "COMMENT ON DATABASE {name} IS 'a'", "itself"),
    "settings of the database that are gone": (
        "ALTER DATABASE {name} SET work_mem = '1MB'",
        "ALTER DATABASE {name} RESET ALL",
        "settings",
    ),
    "a row whose generated column would say something else": (
        (
            "CREATE FUNCTION day(timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS"
            " 'SELECT $1::date'; CREATE TABLE g (at timestamptz,"
            " day date GENERATED ALWAYS AS (day(at)) STORED); SET timezone = 'Asia/Tokyo';"
            "INSERT INTO g VALUES ('2020-01-01 20:00+00'), ('2020-01-02 00:00+00');"
            "RESET timezone"
        ),
        "UPDATE g SET at = '2021-01-01' WHERE day(at) = '2020-01-01'",
        "rows of public.g are others when they are put back",
    ),
    "a row, of two that are alike, whose generated column would say something else": (
        (
            "CREATE FUNCTION day(timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS"
            " 'SELECT $1::date'; CREATE TABLE g (at timestamptz,"
            " day date GENERATED ALWAYS AS (day(at)) STORED); SET timezone = 'Asia/Tokyo';"
            "INSERT INTO g SELECT '2020-01-01 20:00+00' FROM generate_series(1, 2);"
            "RESET timezone"
        ),
        "DELETE FROM g WHERE ctid = '(0,1)'",
        "rows of public.g are others when they are put back",
    ),
    "a limit of the database": ("", "ALTER DATABASE {name} CONNECTION LIMIT 50", "itself"),
}


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_what_no_sweep_restores_is_noticed(database: Database, change: str) -> None:
    """DDL and settings of the database are a reason to replace it, which says what was changed."""
    schema, work, reason = CHANGES[change]
    database.execute(schema.format(name=database.url.database))
    database.sweep.begin()
    database.execute(work.format(name=database.url.database))
    said = database.run().reason
    assert said is not None
    assert reason in said


def test_cast_of_rows_to_text(database: Database) -> None:
    """A cast of the application's own does not hide what was changed."""
    database.execute(
        f"{SEEDED}; CREATE FUNCTION said(t) RETURNS text LANGUAGE sql AS $$SELECT 'the same'$$;"
        "CREATE CAST (t AS text) WITH FUNCTION said(t)"
    )
    database.sweep.begin()
    database.execute("UPDATE t SET x = 'c' WHERE id = 1")
    assert database.run() == (None, [])
    look = "SELECT x FROM t WHERE id = 1"
    assert database.admin.run(database.connection.fetchval, look) == "a"


@pytest.mark.parametrize("way", ["commits", "commits and leaves", "commits what was prepared"])
def test_transaction_that_is_older_than_the_sweep(database: Database, way: str) -> None:
    """What a fixture of wider scope has begun is undone when a test commits it."""
    database.execute(SEEDED)
    fixture = database.connect()
    run = database.admin.run
    run(fixture.execute, "BEGIN; SAVEPOINT s; UPDATE t SET x = 'c' WHERE id = 1; RELEASE s")
    if way == "commits what was prepared":
        run(fixture.execute, "PREPARE TRANSACTION 'older'")
    database.execute("SELECT pg_current_xact_id()")  # one that is over before the sweep begins
    before = database.content()
    database.sweep.begin()
    run(fixture.execute, "COMMIT PREPARED 'older'" if "prepared" in way else "COMMIT")
    if way == "commits and leaves":
        run(disconnect, fixture)
    assert database.content() != before
    assert database.run() == (None, [])
    assert database.content() == before


def test_older_transaction_that_changes_the_schema(database: Database) -> None:
    """It is noticed when a test commits it, although the sweep began after it."""
    function = "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT {}'"
    database.execute(function.format(1))
    fixture = database.connect()
    database.admin.run(fixture.execute, f"BEGIN; {function.format(2)}")
    database.execute("SELECT pg_current_xact_id()")  # one that is over before the sweep begins
    database.sweep.begin()
    database.admin.run(fixture.execute, "COMMIT")
    assert database.run().reason == "the schema was changed (pg_catalog.pg_proc)"


def test_what_was_there_beside_an_older_transaction(database: Database) -> None:
    """What others had committed when the sweep began is no test's, whoever began before them."""
    database.execute(SEEDED)
    fixture = database.connect()
    database.admin.run(fixture.execute, "BEGIN; INSERT INTO t (x) VALUES ('open')")
    database.execute(
        "BEGIN; SAVEPOINT s; CREATE TABLE later (x int); RELEASE s; INSERT INTO later VALUES (1);"
        "COMMIT",
        "COMMENT ON TABLE later IS 'too'",
    )
    before = database.content()
    database.sweep.begin()
    for ended in (1, 0):  # the second time the sweep has written as well
        database.execute("INSERT INTO t (x) VALUES ('c'); INSERT INTO later VALUES (2)")
        reason, left = database.run()
        assert (reason, len(left)) == (None, ended)
        assert database.content() == before


@pytest.mark.parametrize("end", ["stays", "leaves"])
def test_what_is_committed_while_it_learns(
    database: Database, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """It is undone, whether or not it has been counted, and whoever has committed it has gone."""
    database.execute(SEEDED, "SELECT pg_stat_force_next_flush()")
    before = database.content()
    with psycopg.connect(libpq_url(database.url), autocommit=True) as other:

        class Learning(asyncpg.Connection):
            # What asyncpg takes and returns passes through.
            async def fetchrow(self, query: str, *args: Any, **more: Any) -> Any:  # noqa: ANN401
                if "db_testing_learn" in query:
                    other.execute("UPDATE t SET x = 'c' WHERE id = 1")
                    if end == "leaves":
                        pid = other.info.backend_pid
                        other.close()
                        _wait_until_gone(database.admin, pid)
                return await super().fetchrow(query, *args, **more)

        monkeypatch.setattr(
            _sweep, "connect", functools.partial(connect, connection_class=Learning)
        )
        database.sweep.begin()
        assert database.run() == (None, [])
        assert database.content() == before


def _wait_until_gone(admin: Admin, pid: int) -> None:
    deadline = time.monotonic() + 10
    there = "SELECT true FROM pg_stat_activity WHERE pid = $1"
    while admin.run(admin.connection.fetchval, there, pid):
        assert time.monotonic() < deadline


def test_values_beside_a_table_make_it_large(database: Database) -> None:
    """A table of one page takes long to be restored when its values fill a thousand of others."""
    database.execute(
        f"{SERIAL}; ALTER TABLE t ALTER x SET STORAGE EXTERNAL;"
        "INSERT INTO t (x) SELECT repeat('x', 100000) FROM generate_series(1, 80)",
    )
    database.sweep.begin()
    database.execute("UPDATE t SET x = 'short' WHERE id = 1")
    assert (
        database.run().reason == "rows of public.t were changed, which is too large to be restored"
    )


def test_prepared_transaction_is_rolled_back(database: Database) -> None:
    """What two-phase commit has left holds locks for ever, and is said to have been left."""
    database.execute(SERIAL)
    before = database.content()
    database.sweep.begin()
    database.execute(
        "BEGIN", "INSERT INTO t (x) VALUES ('a')", "LOCK TABLE t", "PREPARE TRANSACTION 'it''s'"
    )
    assert database.run() == (None, ['the prepared transaction "it\'s" was rolled back'])
    assert database.content() == before


@pytest.mark.parametrize("role", ["postgres"])
def test_counts_that_a_test_resets(database: Database) -> None:
    """Where the server has been made to forget what was written, everything is looked at."""
    database.execute(SERIAL)
    before = database.content()
    database.sweep.begin()
    database.execute(
        "INSERT INTO t (x) VALUES ('a')",
        "SELECT pg_stat_force_next_flush()",
        "SELECT pg_stat_reset()",
    )
    assert database.run() == (None, [])
    assert database.content() == before


@pytest.mark.parametrize("role", ["postgres"])
def test_subscription_is_noticed(database: Database) -> None:
    """It belongs to the database, but stands among what the whole server has."""
    database.sweep.begin()
    database.execute(
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = NONE)"
    )
    try:
        assert database.run().reason == "a subscription was left"
    finally:
        database.execute("DROP SUBSCRIPTION s")


@pytest.mark.parametrize("role", ["postgres"])
@pytest.mark.parametrize(
    "change",
    [
        "CREATE ROLE of_a_test",
        "GRANT pg_monitor TO made_before",
        "ALTER ROLE made_before SET work_mem = '1MB'",
    ],
)
def test_role_is_noticed(database: Database, change: str) -> None:
    """It belongs to the whole server, and no new database would undo it; all else is put back."""
    database.execute(SERIAL, "CREATE ROLE made_before")
    before = database.content()
    try:
        database.sweep.begin()
        database.execute("INSERT INTO t (x) VALUES ('a')", change)
        assert database.run() == (None, [])
    finally:
        database.execute("DROP ROLE made_before", "DROP ROLE IF EXISTS of_a_test")
    role = "of_a_test" if "of_a_test" in change else "made_before"
    assert database.sweep.staying == {f"role {role}"}
    assert database.content() == before


@pytest.mark.parametrize("role", ["postgres"])
@pytest.mark.parametrize("before", ["", "ALTER SYSTEM SET log_min_duration_statement = 77"])
def test_setting_of_the_server_is_noticed(database: Database, before: str) -> None:
    """What ALTER SYSTEM has set outlives the server; it is named once, and only if it stays."""
    database.execute(before)
    try:
        database.sweep.begin()
        database.execute("ALTER SYSTEM SET work_mem = '1MB'", "ALTER SYSTEM RESET work_mem")
        database.sweep.look_at_settings()
        assert database.sweep.staying == set()
        database.execute("ALTER SYSTEM SET log_min_duration_statement = 78")
        assert database.run() == (None, [])
        database.sweep.look_at_settings()
        assert database.sweep.staying == {"setting log_min_duration_statement"}
        database.sweep.staying.clear()
        database.sweep.look_at_settings()
        assert database.sweep.staying == set()
    finally:
        database.execute("ALTER SYSTEM RESET ALL")


def test_lock_that_is_never_released(database: Database) -> None:
    """A connection of the application's that keeps a lock is ended after a moment, and named."""
    database.execute(SERIAL)
    before = database.content()
    database.sweep.begin()
    database.execute("INSERT INTO t (x) VALUES ('a')")
    keeper = database.connect()
    database.admin.run(keeper.execute, "BEGIN; LOCK TABLE t")
    swept = database.run()
    assert swept.reason is None
    assert [f"process {keeper.get_server_pid()}" in line for line in swept.left] == [True]
    assert database.content() == before


@pytest.mark.parametrize(
    ("key", "named"),
    [("7", "7"), ("-1", "-1"), ("3, -4", "(3, -4)"), ("9007199254740993", "9007199254740993")],
)
def test_advisory_lock_that_is_kept(database: Database, key: str, named: str) -> None:
    """A session of the application's that does nothing more, and keeps one, is ended and named."""
    database.sweep.begin()
    keeper = database.connect()
    database.admin.run(keeper.execute, f"SELECT pg_advisory_lock({key})")
    swept = database.run()
    assert swept.reason is None
    (line,) = swept.left
    assert f"process {keeper.get_server_pid()}" in line
    assert f"was left idle with the advisory lock {named}, in 'SELECT pg_advisory_lock(" in line
    taken = f"SELECT pg_try_advisory_lock({key})"
    assert database.admin.run(database.connection.fetchval, taken)
    assert database.run() == (None, [])


@pytest.fixture
def hiding(server: URL, database: Database) -> Iterator[Connection]:
    """Connect as a role of which the owner of everything may not see what it does."""
    superuser = Admin(server)
    superuser.run(superuser.connection.execute, "CREATE ROLE hiding LOGIN")
    database.execute(f"{SERIAL}; GRANT ALL ON t, t_id_seq TO hiding")
    stranger = database.admin.run(lambda: connect(database.url.set(username="hiding")))
    yield stranger
    database.admin.run(disconnect, stranger)
    database.drop()
    superuser.run(superuser.connection.execute, "DROP ROLE hiding")
    superuser.close()


@pytest.mark.parametrize("role", ["owner"])
def test_session_of_a_role_that_hides(database: Database, hiding: Connection) -> None:
    """An owner who may not see what it does looks at everything, and says what cannot be ended."""
    before = database.content()
    database.sweep.begin()
    for _ in range(2):  # the second time the server does not count it at once
        database.admin.run(hiding.execute, "INSERT INTO t (x) VALUES ('a')")
        assert database.run() == (None, [])
        assert database.content() == before
    database.admin.run(hiding.execute, "BEGIN; INSERT INTO t (x) VALUES ('a')")
    (line,) = database.run().left
    assert f"process {hiding.get_server_pid()}" in line
    assert "was left in a transaction" in line
    assert "its process could not be ended (" in line
    assert database.run() == (None, [])  # it is no other test's


@pytest.mark.parametrize("role", ["owner"])
def test_older_transaction_of_a_role_that_hides(database: Database, hiding: Connection) -> None:
    """What the sweep itself has made since it began is no test's, however often it looks."""
    database.admin.run(hiding.execute, "BEGIN; INSERT INTO t (x) VALUES ('a')")
    before = database.content()
    database.sweep.begin()
    for named in (1, 0, 0):
        database.execute("INSERT INTO t VALUES (9, 'b')")
        reason, left = database.run()
        assert (reason, len(left)) == (None, named)
        assert database.content() == before


@pytest.mark.parametrize("since", ["the first test", "a fixture of wider scope"])
def test_advisory_lock_that_no_test_has_taken(database: Database, since: str) -> None:
    """A leader who lives longer than tests stays, whatever it does in them."""
    if since != "the first test":
        database.sweep.begin()
    leader = database.connect()
    database.admin.run(leader.execute, "SELECT pg_advisory_lock(7)")
    if since == "the first test":
        database.sweep.begin()
    else:
        database.sweep.spare()
    for _ in range(2):
        database.admin.run(leader.execute, "SELECT pg_advisory_lock(7)")
        assert database.run() == (None, [])
    database.admin.run(leader.execute, "SELECT pg_advisory_lock(8)")
    assert ["advisory lock 8," in line for line in database.run().left] == [True]


def work_meanwhile(database: Database, stranger: Connection) -> Swept:
    """Sweep; the stranger writes a row while it waits for a lock."""
    run = database.admin.run
    ours = [cast("RealConnection", each) for each in (database.connection, database.other)]
    for each in ours:
        assert run(each.renewed)
    run(database.other.execute, "SELECT pg_advisory_lock(7)")
    database.sweep.start([each.get_server_pid() for each in ours])
    with ThreadPoolExecutor(1) as thread:
        sweeping = thread.submit(database.sweep.finish)
        deadline = time.monotonic() + 10
        while not run(database.connection.fetchval, WAITS):
            assert time.monotonic() < deadline
        run(stranger.execute, "INSERT INTO u VALUES (1)")
        run(database.other.execute, "SELECT pg_advisory_unlock(7)")
        return sweeping.result()


def test_what_is_written_while_it_sweeps(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at the next time, although whoever wrote it has done nothing since."""
    monkeypatch.setattr(_sweep, "LOCK_TIMEOUT", "30s")  # for the sweep is made to wait
    database.execute(*WAITING)
    stranger = database.connect()
    database.admin.run(stranger.execute, "SELECT FROM u")  # now its counters wait for a second
    database.sweep.begin()
    assert database.run() == (None, [])  # from now on starting a sweep takes no answer
    database.execute("DELETE FROM t")
    assert work_meanwhile(database, stranger) == (None, [])
    assert database.run() == (None, [])
    assert database.admin.run(stranger.fetchval, "SELECT count(*) FROM u") == 0


@pytest.mark.parametrize("of", ["the test", "a fixture of wider scope"])
def test_session_that_works_on(
    database: Database, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    """One that a test has begun, and that works while the sweep does, is named, once."""
    monkeypatch.setattr(_sweep, "LOCK_TIMEOUT", "30s")  # for the sweep is made to wait
    database.execute(*WAITING)
    database.sweep.begin()
    stranger = database.connect()
    if of != "the test":
        database.sweep.spare()
    named = []
    for _ in range(2):
        database.admin.run(stranger.execute, "INSERT INTO u VALUES (1)")
        database.execute("DELETE FROM t")
        swept = work_meanwhile(database, stranger)
        assert swept.reason is None
        named += swept.left
    works_on = f"process {stranger.get_server_pid()}, without a name) works on, in 'INSERT INTO u"
    assert [works_on in line for line in named] == [True] * (of == "the test")
    assert database.run() == (None, [])
    assert database.admin.run(stranger.fetchval, "SELECT count(*) FROM u") == 0


def test_view_without_data_is_no_obstacle(database: Database) -> None:
    """Where everything is looked at, a materialised view that cannot be read is passed over."""
    database.execute(f"{SERIAL}; CREATE MATERIALIZED VIEW m AS SELECT * FROM t WITH NO DATA")
    database.sweep.begin()
    stranger = database.connect()
    database.admin.run(stranger.execute, "INSERT INTO t (x) VALUES ('a')")
    assert database.run() == (None, [])
    assert database.admin.run(stranger.fetchval, "SELECT count(*) FROM t") == 0


@pytest.mark.parametrize("role", ["postgres"])
@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        ("DROP EXTENSION plpgsql", 'language "plpgsql" does not exist'),
        ("ALTER DATABASE {name} SET track_counts = off", "track_counts is off"),
    ],
)
def test_database_that_cannot_be_swept(database: Database, obstacle: str, reason: str) -> None:
    """It says why, and would be replaced after each test."""
    database.execute(obstacle.format(name=database.url.database))
    for _ in range(2):
        database.sweep.begin()
        said = database.run().reason
        assert said is not None
        assert reason in said


def test_lock_that_is_in_the_way_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next database is swept, although the state of this one could not be learnt."""
    monkeypatch.setattr(_sweep, "LOCK_TIMEOUT", "50ms")
    database.execute(SEEDED)
    database.admin.run(database.other.execute, "BEGIN; LOCK TABLE t")
    database.sweep.begin()
    database.admin.run(database.other.execute, "ROLLBACK")
    assert "lock timeout" in str(database.run().reason)
    database.sweep.close()
    database.sweep.begin()
    before = database.content()
    database.execute("INSERT INTO t (x) VALUES ('c')")
    assert database.run() == (None, [])
    assert database.content() == before


def test_nobody_looks_for_long(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long pytest was busy with something else does not count, however slow a fixture is."""
    monkeypatch.setattr(_sweep, "PATIENCE", 2.0)
    database.execute(SERIAL)
    before = database.content()
    database.sweep.begin()
    database.execute("INSERT INTO t (x) VALUES ('a')")
    database.start()
    time.sleep(2.2)  # is the fixture
    assert database.sweep.finish() == (None, [])
    assert database.content() == before


def test_sweep_that_takes_too_long(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, and says so."""
    database.execute(SERIAL)
    database.sweep.begin()
    database.execute("INSERT INTO t (x) VALUES ('a')")
    monkeypatch.setattr(_sweep, "PATIENCE", 0.2)
    locker = database.connect()
    database.admin.run(locker.execute, "BEGIN; LOCK TABLE t")
    database.start(locker)  # it is taken for one of ours, which nobody would end
    assert database.sweep.finish() == ("the sweep took longer than 0.2 s", [])


def test_new_database_that_somebody_writes_to(database: Database) -> None:
    """What a process that an earlier test has left writes before the next is no template's."""
    database.execute(SEEDED)
    admin = database.admin
    clone = f"{database.url.database}_clone"
    for connection in database.connections:
        admin.run(disconnect, connection)
    admin.run(admin.connection.execute, f"CREATE DATABASE {clone} TEMPLATE {database.url.database}")
    sweep = Sweep(admin, database.url.set(database=clone))
    try:
        sweep.begin(alone_with=[])
        sweep.start([])
        assert sweep.finish() == (None, [])
        sweep.close()
        stranger = admin.run(lambda: connect(sweep.url))
        admin.run(stranger.execute, "DELETE FROM t WHERE id = 1")
        sweep.begin(alone_with=[stranger.get_server_pid()])  # it is ours
        sweep.start([])
        assert sweep.finish().reason != "somebody was connected before the test had begun"
        sweep.close()
        sweep.begin(alone_with=[])  # may not see yet what it has written
        sweep.start([])
        assert sweep.finish() == ("somebody was connected before the test had begun", [])
        sweep.close()
        admin.run(disconnect, stranger)
        sweep.begin(alone_with=[])
        sweep.start([])
        assert sweep.finish() == ("somebody wrote to public.t before the test had begun", [])
        sweep.close()
        admin.run(admin.connection.execute, f"DROP DATABASE {clone}")
        admin.run(
            admin.connection.execute, f"CREATE DATABASE {clone} TEMPLATE {database.url.database}"
        )
        stranger = admin.run(lambda: connect(sweep.url))  # comes whenever it is cut off
        sweep.begin(alone_with=[])
        sweep.start([])
        assert sweep.finish() == (None, [])
        sweep.close()
        admin.run(stranger.execute, "CREATE TYPE late AS (x int)")
        admin.run(disconnect, stranger)
        sweep.begin(alone_with=[])
        sweep.start([])
        assert "somebody wrote to pg_catalog.pg_" in str(sweep.finish().reason)
        sweep.close()
        sweep.begin()  # as it is when a fixture has written
        sweep.start([])
        assert sweep.finish() == (None, [])
    finally:
        sweep.close()
        admin.run(admin.connection.execute, f"DROP DATABASE {clone}")


def test_older_server(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose counters come late is not believed."""
    monkeypatch.setattr(_sweep, "SINCE", 99)
    database.sweep.begin()
    assert "counts too late for a sweep" in str(database.run().reason)
