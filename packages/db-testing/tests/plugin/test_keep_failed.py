"""`--db-keep-failed`: the database of a test that fails is there when the run is over."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING, TypeAlias

import pytest
from sqlalchemy.engine import make_url

from db_testing._server._admin import Admin, connect
from db_testing._template import _kept, _naming, _removal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Suite

    Kept: TypeAlias = Callable[[], dict[str, str]]

ITEMS = "SELECT string_agg(name, ' ' ORDER BY id) FROM item"
ISOLATIONS = pytest.mark.parametrize("isolation", ["rollback", "commit", "database"])
FLAG = "--db-keep-failed"
IN_NAME = r"^dbtkept_\w{12}_\w{6}_|_\w{8}$"
"""What is before and after a test's own name."""


@pytest.fixture
def kept(test_database_url: str, pytester: pytest.Pytester, suite: Suite) -> Iterator[Kept]:
    """Return the databases that runs in this test's folder have kept, and the names of items.

    They are dropped at the end.
    """
    admin = Admin(make_url(test_database_url).set(database="postgres"))
    prefix = f"{_naming.KEPT_PREFIX}{pytester.path.name[:12]}"

    async def names() -> list[str]:
        rows = await admin.connection.fetch("SELECT datname FROM pg_database ORDER BY datname")
        return [row["datname"] for row in rows if row["datname"].startswith(prefix)]

    async def items(name: str) -> str:
        connection = await connect(admin.url.set(database=name))
        try:
            return str(await connection.fetchval(ITEMS))
        finally:
            await connection.close()

    try:
        yield lambda: {name: admin.run(items, name) for name in admin.run(names)}
        for name in admin.run(names):
            admin.run(_removal.drop, admin, name)
    finally:
        admin.close()


def commands(result: pytest.RunResult) -> list[str]:
    """Return the commands of the summary."""
    lines = result.stdout.lines
    start = next(index for index, line in enumerate(lines) if "databases of failed tests" in line)
    return [line for line in lines[start:] if " -m db_testing psql " in line]


def look(command: str, sql: str) -> str:
    """Run a command as it was printed, with a statement for psql."""
    arguments = [*shlex.split(command), "--", "-XAtc", sql]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@ISOLATIONS
def test_what_was_committed_is_there(
    suite: Suite, kept: Kept, databases_of: Callable[[], list[str]], isolation: str
) -> None:
    """The printed command shows it after the run, and the next tests have a clean database."""
    pytester = suite("keep_failed", mode="auto")
    result = pytester.runpytest_subprocess(
        FLAG, f"--db-isolation={isolation}", "-k", "test_fails or passes", "-p", "no:randomly"
    )
    result.assert_outcomes(passed=2, failed=6, errors=1)
    assert databases_of() == []
    expected = {
        "fails": "committed",
        "fails_after_an_error": "committed",
        "fails_with_a_session_benea": "beneath committed",
        "fails_synchronously": "committed",
        "fails_in_a_fixture": "committed",
    }
    if isolation != "rollback":
        expected["fails_with_a_session_benea"] = "committed"
        expected["fails_on_a_loop_of_its_own"] = "committed"
    assert {re.sub(IN_NAME, "", name): items for name, items in kept().items()} == expected
    shown = [command.rpartition(" ")[2] for command in commands(result)]
    assert sorted(shown) == list(kept())
    assert look(commands(result)[0], ITEMS) == "committed"


def test_failure_of_a_fixtures_end(suite: Suite, kept: Kept) -> None:
    """It is a failure of the test; what is skipped at the end has not failed."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item

        ISOLATIONS = ["rollback", "commit", "database"]
        EACH = [pytest.param(each, marks=pytest.mark.db(isolation=each)) for each in ISOLATIONS]

        async def write(db):
            db.add(Item(name="committed"))
            await db.commit()

        @pytest.fixture
        async def broken(db):
            yield
            raise LookupError

        @pytest.mark.parametrize("isolation", EACH)
        async def test_broken(broken, db, isolation):
            await write(db)

        class TestOldStyle:
            def teardown_method(self):
                pytest.fail("on purpose")

            async def test_old_style(self, db):
                await write(db)

        @pytest.fixture
        def skipping():
            yield
            pytest.skip("on purpose")

        async def test_skipping(skipping, db):
            await write(db)

        async def test_passes(db):
            await write(db)
        """
    )
    result = pytester.runpytest(FLAG, "-p", "no:randomly")
    result.assert_outcomes(passed=6, errors=4, skipped=1)
    assert {re.sub(IN_NAME, "", name): items for name, items in kept().items()} == dict.fromkeys(
        ["broken_rollback", "broken_commit", "broken_database", "old_style"], "committed"
    )
    result.stdout.fnmatch_lines(["*- db-testing teardown -*", "database kept as dbtkept_*"])


def test_tests_that_are_run_again(suite: Suite, kept: Kept) -> None:
    """The last failure's database takes the place of those before it, and is named once."""
    pytester = suite("keep_failed", mode="auto")
    result = pytester.runpytest(FLAG, "--reruns=2", "-k", "synchronously")
    result.assert_outcomes(failed=1)
    assert len(commands(result)) == len(kept()) == 1


def test_what_is_said(suite: Suite, kept: Kept) -> None:
    """The failure and the summary say where the database is, and what is not in it."""
    pytester = suite("keep_failed", mode="auto")
    result = pytester.runpytest(FLAG, "-p", "no:randomly")
    where = "kept as dbtkept_*_fails_*"
    result.stdout.fnmatch_lines(
        [
            "*_ test_fails _*",
            "*- db-testing teardown -*",
            f"database {where} (without what was not committed: the transaction begun at *)",
            "  * -m db_testing psql *dbtkept_*",
            "  postgresql://*@/dbtkept_*?host=*",
            "*= databases of failed tests =*",
            f"test_keep_failed.py::test_fails: {where} (without *)",
            "*::test_fails_with_a_session_beneath: kept as * (with what savepoints cannot undo *)",
            "*::test_fails_on_a_loop_of_its_own: not kept: the event loop * is closed",
        ]
    )
    assert "fails_untouched: " not in result.stdout.str()


def test_lost_connection_has_nothing_to_keep(suite: Suite, kept: Kept) -> None:
    """Where the connection is gone with what the test has done, the summary says so."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        from models import Item
        from sqlalchemy import func, select

        async def test_fails(db):
            db.add(Item(name="committed"))
            await db.commit()
            await db.scalar(select(func.pg_terminate_backend(func.pg_backend_pid())))
        """
    )
    result = pytester.runpytest(FLAG)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*::test_fails: not kept: the connection with its rows is gone"])
    assert kept() == {}


def test_workers_keep_as_well(suite: Suite, kept: Kept) -> None:
    """What xdist's workers have kept is printed by the run, with the failure too."""
    pytester = suite("keep_failed", mode="auto")
    result = pytester.runpytest_subprocess(FLAG, "-n", "2", "-k", "synchron or after")
    result.assert_outcomes(failed=2)
    assert list(kept().values()) == ["committed"] * 2
    assert len(commands(result)) == 2
    result.stdout.fnmatch_lines(["*- db-testing teardown -*", "database kept as dbtkept_*"])


def test_nothing_is_kept_unasked(suite: Suite, kept: Kept) -> None:
    """Without the flag a failing test's database is used for the next."""
    result = suite("keep_failed", mode="auto").runpytest("-k", "synchronously or passes")
    result.assert_outcomes(passed=2, failed=1)
    assert kept() == {}
    result.stdout.no_fnmatch_line("*databases of failed tests*")


def test_attempt_that_is_not_reported_is_not_kept(suite: Suite, kept: Kept) -> None:
    """Of a test that `auto` runs again under commit isolation, only that attempt can fail."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        from models import Item
        from sqlalchemy import text

        async def test_moved(db):
            db.add(Item(name="committed"))
            await db.commit()
            await db.execute(text("LISTEN news"))

        async def test_moved_and_fails(db):
            await test_moved(db)
            raise LookupError
        """
    )
    result = pytester.runpytest(FLAG, "-p", "no:randomly")
    result.assert_outcomes(passed=1, failed=1)
    assert [re.sub(IN_NAME, "", name) for name in kept()] == ["moved_and_fails"]
    assert list(kept().values()) == ["committed"]


def test_keeping_changes_no_outcome(suite: Suite, kept: Kept) -> None:
    """What others commit in a test that fails moves it, whether or not its database is kept."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        import asyncpg
        from db_testing._server._admin import connect_options
        from models import Item
        from sqlalchemy.engine import make_url

        async def test_moved(db, test_database_url):
            db.add(Item(name="committed"))
            await db.commit()
            other = await asyncpg.connect(**connect_options(make_url(test_database_url)))
            await other.execute("INSERT INTO item (name) VALUES ('direct')")
            count = await other.fetchval("SELECT count(*) FROM item")
            await other.close()
            assert count == 2

        async def test_moved_and_fails(db, test_database_url):
            await test_moved(db, test_database_url)
            raise LookupError
        """
    )
    result = pytester.runpytest(FLAG, "-p", "no:randomly")
    result.assert_outcomes(passed=1, failed=1)
    assert list(kept().values()) == ["committed direct"]


def test_lock_of_the_test_is_no_escape(suite: Suite, kept: Kept) -> None:
    """A table that a failing test has locked is not taken for one that others have changed."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        import asyncpg
        from db_testing._server._admin import connect_options
        from models import Item
        from sqlalchemy import text
        from sqlalchemy.engine import make_url

        async def test_locks(db, test_database_url):
            await db.execute(text("LOCK TABLE item"))
            db.add(Item(name="kept"))
            await db.commit()
            elsewhere = make_url(test_database_url).set(database="postgres")
            other = await asyncpg.connect(**connect_options(elsewhere))
            await other.execute("SELECT pg_current_xact_id()")
            await other.close()
            raise LookupError
        """
    )
    result = pytester.runpytest(FLAG)
    result.assert_outcomes(failed=1)
    assert list(kept().values()) == ["kept"]


@pytest.mark.parametrize("flag", [[], [FLAG]])
def test_failure_of_a_fixtures_end_hides_no_other(suite: Suite, flag: list[str]) -> None:
    """What is left behind is an error too, whether or not the database is kept."""
    pytester = suite(mode="auto", more="db_leaks = error")
    pytester.makepyfile(
        """
        import pytest

        LEFT = []

        @pytest.fixture
        async def broken():
            yield
            raise LookupError("on purpose")

        async def test_leaks(broken, db_engine):
            LEFT.append(await db_engine.connect())
        """
    )
    result = pytester.runpytest(*flag)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines_random(["*LookupError: on purpose*", "*test_leaks left behind*"])


def test_rows_of_a_layer_are_kept_and_stay(suite: Suite, kept: Kept) -> None:
    """A test that fails above a data layer is kept with its rows; the next test has them too."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import select

        @pytest.fixture(scope="module", autouse=True)
        async def rows(db_layer):
            async with db_layer() as session:
                session.add(Item(name="layer"))
                yield

        @pytest.mark.parametrize("time", [1, 2])
        async def test_rows(db, time):
            assert [item.name for item in await db.scalars(select(Item))] == ["layer"]
            db.add(Item(name="test"))
            await db.commit()
            raise LookupError
        """
    )
    result = pytester.runpytest(FLAG)
    result.stdout.fnmatch_lines(["FAILED *LookupError", "FAILED *LookupError"])
    assert list(kept().values()) == ["layer test"] * 2


def test_they_are_bounded(suite: Suite, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first failures of a run are kept; only those of earlier runs make room for them."""
    monkeypatch.setattr(_kept, "LIMIT", 3)
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text

        @pytest.mark.parametrize("number", range(4))
        async def test_fails(db, number):
            await db.execute(text("SELECT 1"))
            raise LookupError
        """
    )
    ordered = (FLAG, "-p", "no:randomly")
    result = pytester.runpytest(*ordered)
    result.stdout.fnmatch_lines(
        ["*::test_fails[[]3]: not kept: 3 databases of this run have been kept already"]
    )
    first = list(kept())
    assert [re.sub(IN_NAME, "", name) for name in first] == ["fails_0", "fails_1", "fails_2"]
    pytester.runpytest(*ordered, "-k", "0 or 1")
    assert [name for name in first if name in kept()] == first[2:]
    assert len(kept()) == 3


def test_other_runs_leave_them_alone(suite: Suite, kept: Kept) -> None:
    """What nobody holds is reaped, but for what was kept."""
    pytester = suite("keep_failed", mode="auto")
    pytester.runpytest(FLAG, "-k", "synchronously")
    before = kept()
    pytester.runpytest("-k", "passes").assert_outcomes(passed=2, deselected=7)
    assert kept() == before != {}


def test_who_looks_on_a_server_of_their_own() -> None:
    """The command is psql's with a URL of libpq's, and shows no password."""
    url = make_url("postgresql+asyncpg://me:secret@db.example:5433/dbt_x?ssl=require")
    command, shown = _kept.how_to_look("postgresql://...", url, "dbtkept_x")
    assert shown == "postgresql://me@db.example:5433/dbtkept_x?sslmode=require"
    assert shlex.split(command) == ["psql", shown]


def test_fixtures_between_a_kept_test_and_the_next(suite: Suite, kept: Kept) -> None:
    """What has been kept is replaced once: what a fixture then commits by itself stays."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncpg
        import pytest_asyncio
        from models import Item
        from sqlalchemy import func, select
        from sqlalchemy.engine import make_url

        COUNT = select(func.count()).select_from(Item)

        @pytest_asyncio.fixture(scope="class")
        async def row(db_engine, test_database_url):
            url = make_url(test_database_url)
            options = {"host": url.query["host"], "database": url.database}
            connection = await asyncpg.connect(user="postgres", **options)
            await connection.execute("INSERT INTO item (name) VALUES ('a')")
            await connection.close()
            async with db_engine.connect() as connection:
                assert (await connection.execute(COUNT)).scalar_one() == 1

        async def test_that_fails(db):
            db.add(Item(name="kept"))
            await db.commit()
            assert False

        class TestNext:
            async def test_with_the_row(self, row, db):
                assert (await db.execute(COUNT)).scalar_one() == 1
        """
    )
    result = pytester.runpytest("-p", "no:randomly", "--db-keep-failed")
    result.assert_outcomes(passed=1, failed=1)
    assert list(kept().values()) == ["kept"]
