"""What a connection that is not the sandbox's commits fails that test, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db_testing._isolation import _escapes, _isolation, _picture, _synchronous
from db_testing._isolation._original import Original
from db_testing._plugin import _state, _worker
from db_testing._sandbox import _blockers
from db_testing._statements._catalog import tells_positions
from db_testing.errors import ServerError

if TYPE_CHECKING:
    from db_testing._isolation._picture import Connection
    from db_testing._statements._catalog import Known

    from .conftest import Suite

IN_ORDER = ("-p", "no:randomly")

ESCAPED = {
    "test_second_engine": "1 row in item, by the commit at *test_escapes.py:*",
    "test_in_a_thread": "1 row in item, by the commit at *test_escapes.py:*",
    "test_raw": "2 rows in item, by a connection that is not the sandbox's",
    "test_subprocess": "1 row in item, by a connection that is not the sandbox's",
    "test_ddl": "a change of the schema (DDL), by a connection that is not the sandbox's",
    "test_without_the_sandbox": "1 row in item, by a connection that is not the sandbox's",
    "test_on_a_loop_of_its_own": "1 row in item, by a connection that is not the sandbox's",
    "test_second_engine_again": "1 row in item, by the commit at *test_escapes.py:*",
}


def assert_escaped(result: pytest.RunResult) -> None:
    """Every test that committed for real failed at its end, and no other did anywhere."""
    result.assert_outcomes(passed=20, errors=len(ESCAPED))
    for test, what in ESCAPED.items():
        result.stdout.fnmatch_lines(
            [f"test_escapes.py::{test} has really committed {what}: no rollback can undo that*"]
        )


def test_real_commits_fail_their_test(suite: Suite) -> None:
    """The error says what was committed and where; the next test finds a clean database."""
    pytester = suite("escapes", mode="auto")
    assert_escaped(pytester.runpytest(*IN_ORDER))


def test_commits_of_other_workers_are_no_escape(suite: Suite) -> None:
    """What moves the cluster elsewhere is looked into, and blamed on nobody."""
    pytester = suite("escapes", "commits", "every_fixture", mode="auto")
    result = pytester.runpytest_subprocess(*IN_ORDER, "-n", "2")
    result.assert_outcomes(passed=20 + 26, errors=len(ESCAPED))


def test_rows_of_wider_fixtures_are_no_escape(suite: Suite) -> None:
    """What fixtures of module or session commit for real, even during a test, stays."""
    pytester = suite("escapes_wider", mode="auto")
    result = pytester.runpytest(*IN_ORDER)
    result.assert_outcomes(passed=5, errors=1)
    result.stdout.fnmatch_lines(
        ["*test_escape has really committed 1 row in item*What wider fixtures had committed is*"]
    )


def test_fixture_that_asks_before_the_first_test(suite: Suite) -> None:
    """Its connection notices escapes like any other, and knows the ids that are taken by then."""
    pytester = suite("asked_early", mode="auto")
    result = pytester.runpytest(*IN_ORDER)
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(["*test_escape has really committed 1 row in item*"])


@pytest.mark.timeout(120)
def test_transaction_left_open_elsewhere(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that keeps a table locked is named and ended; nobody waits for it."""
    monkeypatch.setattr(_isolation, "LOCK_TIMEOUT", "1h")  # whoever waits now waits for ever
    pytester = suite("left_open_elsewhere", mode="auto")
    result = pytester.runpytest(*IN_ORDER)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines_random(
        [
            "*= left behind by tests =*",
            "*::test_lock: a connection that is not the sandbox's (process *, the other one) was *",
            "*::test_lock: *was left in a transaction after 'LOCK TABLE item'; its process was *",
        ]
    )


def test_transaction_left_open_beside_the_sandbox(suite: Suite) -> None:
    """It is noticed whether its connection is of the test or was there before."""
    result = suite("left_open_beside", mode="auto").runpytest(*IN_ORDER)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "*= left behind by tests =*",
            "",
            "*::test_older: a connection that is not *(process *, the older one) was left in *",
            "*::test_newer: a connection that is not *(process *, the newer one) was left in *",
            "db-testing: 3 database tests,*",
        ],
        consecutive=True,
    )


@pytest.mark.parametrize("name", ["blocked", "blocked_sync"])
def test_both_sides_of_a_lock_are_named(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A statement that waits for another connection's row in vain says which, and what it did."""
    monkeypatch.setattr(_isolation, "LOCK_TIMEOUT", "2s")
    monkeypatch.setattr(_synchronous, "LOCK_TIMEOUT", "2s")
    monkeypatch.setattr(_blockers, "SUSPICION", 0.2)
    pytester = suite(name, mode="auto")
    result = pytester.runpytest(*IN_ORDER)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines_random(
        [
            "*SandboxBlockedError: 'INSERT INTO item *' at *test_blocked*.py:*, in the *",
            "* waited in vain for a lock (*lock timeout) that a connection which is not the *",
            "*: process * (the other one, idle in transaction, last statement: *INSERT INTO item *",
        ]
    )


def test_other_side_of_a_lock_does_not_wait_for_ever(suite: Suite) -> None:
    """Any connection to a worker's database has a bound on its waits for locks."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import create_async_engine

        async def test_bound(test_database_url):
            engine = create_async_engine(test_database_url)
            async with engine.connect() as connection:
                assert (await connection.execute(text("SHOW lock_timeout"))).scalar_one() == "10s"
            await engine.dispose()
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_engines_have_no_listeners_until_another_connects(suite: Suite) -> None:
    """SQLAlchemy looks for listeners at each step of each engine as soon as there is one."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import create_async_engine

        async def test_alone(db):
            await db.execute(text("SELECT 1"))
            await db.commit()
            assert not db.get_bind()._has_events

        async def test_another(db, test_database_url):
            engine = create_async_engine(test_database_url)
            async with engine.begin():
                pass
            await engine.dispose()
            assert db.get_bind()._has_events
        """
    )
    # SQLAlchemy never forgets, so it must be another process.
    pytester.runpytest_subprocess(*IN_ORDER).assert_outcomes(passed=2)


CATALOGS = [
    "ALTER DATABASE {database} SET search_path = pg_catalog",
    "COMMENT ON DATABASE {database} IS 'changed'",
    "REVOKE TEMP ON DATABASE {database} FROM public",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO public",
    "CREATE CAST (text AS integer) WITH INOUT",
    "CREATE COLLATION c (locale = 'C')",
    "CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)",
    "CREATE PUBLICATION p",
    "CREATE STATISTICS s ON id, name FROM item",
    "CREATE TEXT SEARCH CONFIGURATION t (COPY = simple)",
    "ALTER SEQUENCE item_id_seq INCREMENT 2",
]
"""Statements that change no table and no row of one."""


def test_whatever_is_committed_is_noticed(suite: Suite) -> None:
    """It need not be rows or tables: settings and all kinds of objects are looked at."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        f"""
        import asyncpg
        import pytest
        from sqlalchemy import make_url, text

        @pytest.mark.parametrize("statement", {CATALOGS})
        async def test_escape(db, test_database_url, statement):
            await db.execute(text("SELECT 1"))
            database = make_url(test_database_url).database
            connection = await asyncpg.connect(test_database_url.replace("+asyncpg", ""))
            await connection.execute(statement.format(database=database))
            await connection.close()
        """
    )
    result = pytester.runpytest(*IN_ORDER)
    result.assert_outcomes(passed=len(CATALOGS), errors=len(CATALOGS))
    said = [line for line in result.outlines if "has really committed a change of the" in line]
    assert len(said) == len(CATALOGS)


def test_sequence_that_is_set_elsewhere(suite: Suite) -> None:
    """It is put back, also where it was set to a position that it has not handed out."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncpg
        import pytest
        from models import Item
        from sqlalchemy import text

        @pytest.mark.parametrize("called", ["true", "false"])
        async def test_set(db, test_database_url, called):
            await db.execute(text("SELECT 1"))
            connection = await asyncpg.connect(test_database_url.replace("+asyncpg", ""))
            await connection.execute(f"SELECT setval('item_id_seq', 500, {called})")
            await connection.close()

        async def test_is_back(db):
            db.add(item := Item(name="a"))
            await db.flush()
            assert item.id == 1
        """
    )
    pytester.runpytest(*IN_ORDER).assert_outcomes(passed=3)


def test_what_the_test_itself_has_locked(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to read it around a wider fixture, to know that nobody else has come."""
    taken: list[object] = []

    class Picture(_picture.Picture):
        @classmethod
        async def take(cls, connection: Connection) -> _picture.Picture:
            taken.append(connection)
            return await super().take(connection)

    monkeypatch.setattr(_escapes, "Picture", Picture)
    monkeypatch.setattr(_escapes, "_COMMITTED", "$1::xid IS NULL")  # others commit on this server
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text

        @pytest.fixture(scope="module")
        def first():
            return 1

        @pytest.fixture(scope="module")
        def second():
            return 2

        async def test_locks(db, request):
            await db.execute(text("TRUNCATE item"))
            assert request.getfixturevalue("first") + request.getfixturevalue("second") == 3
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)
    assert len(taken) <= 1  # when the database was new, unless its template tells


def test_visitor_is_asked_about_once(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects, reads and leaves costs its own test a look, and those that follow nothing."""
    asked_little: list[bool] = []
    looked: list[bool] = []

    class Watch(_escapes.Watch):
        @property
        def question(self) -> str:
            question = super().question
            tells = self.admin.server_version >= _escapes.COUNTS_AT_ONCE
            asked_little.append(question.startswith("EXECUTE db_testing_come") or not tells)
            return question

        def moved(self) -> bool:
            looked.append(super().moved())
            return looked[-1]

    monkeypatch.setattr(_worker, "Watch", Watch)
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncpg
        import pytest
        from sqlalchemy import text

        async def test_first(db):
            await db.execute(text("SELECT 1"))

        async def test_visitor(db, test_database_url):
            await db.execute(text("SELECT 1"))
            connection = await asyncpg.connect(test_database_url.replace("+asyncpg", ""))
            assert await connection.fetch("SELECT * FROM item") == []
            await connection.close()

        @pytest.mark.parametrize("time", range(3))
        async def test_alone(db, time):
            await db.execute(text("SELECT 1"))
        """
    )
    pytester.runpytest(*IN_ORDER).assert_outcomes(passed=5)
    assert looked.count(False) <= 1  # another run on the same server may commit meanwhile
    assert asked_little == [True] * 5


def test_upkeep_is_no_escape(suite: Suite) -> None:
    """What the server does for itself at any time, as autovacuum, is blamed on nobody."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncpg
        import pytest
        from sqlalchemy import text

        @pytest.mark.parametrize("time", range(2))
        async def test_upkeep(db, test_database_url, time):
            await db.execute(text("SELECT 1"))
            connection = await asyncpg.connect(test_database_url.replace("+asyncpg", ""))
            await connection.execute("CREATE TEMP TABLE t (id serial PRIMARY KEY)")
            await connection.execute("DROP TABLE t")
            await connection.execute("VACUUM (FREEZE, ANALYZE)")
            await connection.close()
        """
    )
    pytester.runpytest(*IN_ORDER).assert_outcomes(passed=2)


def test_clone_that_is_known_is_not_read(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run has noted of the template is not read again, and sequences go back."""
    known: list[bool] = []
    looked: list[object] = []
    look = Original.look

    async def note(connection: Connection) -> Original:
        looked.append(connection)
        return await look(connection)

    class Watch(_escapes.Watch):
        async def known(self, wire: Connection) -> Known | None:
            found = await super().known(wire)
            known.append(found is not None or not tells_positions(wire))
            return found

    monkeypatch.setattr(_worker, "Watch", Watch)
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item

        @pytest.mark.parametrize("time", ["first", "second"])
        async def test_ids(db, time):
            db.add(item := Item(name="a"))
            await db.flush()
            assert item.id == 1
            await db.commit()
        """
    )
    pytester.runpytest().assert_outcomes(passed=2)
    monkeypatch.setattr(Original, "look", note)
    pytester.runpytest().assert_outcomes(passed=2)
    assert known == [True, True]
    assert not looked


def test_error_between_two_tests_is_the_only_one(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be undone is told by one error, and by none of pytest's own plugins."""
    told = [ServerError("the database could not be replaced")]

    def settle(_: pytest.Config) -> None:
        if told:
            raise told.pop()

    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        async def test_first(db): pass
        async def test_second(db): pass
        """
    )
    monkeypatch.setattr(_state, "settle", settle)
    result = pytester.runpytest(*IN_ORDER)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ServerError: the database could not be replaced"])
    result.stdout.no_fnmatch_line("*KeyError*")
