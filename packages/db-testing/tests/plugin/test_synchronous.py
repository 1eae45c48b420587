"""Synchronous code: `db_sync` and `db_sync_engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Suite


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_each_fixture_starts_from_the_template(
    suite: Suite, mode: str, databases_of: Callable[[], list[str]]
) -> None:
    """Rows and ids of one test are gone in the next, whichever thread made them."""
    result = suite("synchronous", mode=mode).runpytest("-p", "no:randomly")
    result.assert_outcomes(passed=12)
    result.stdout.re_match_lines([r"db-testing: 12 database tests, .*"])
    assert databases_of() == []


def test_commit_isolation(suite: Suite, databases_of: Callable[[], list[str]]) -> None:
    """The same tests pass on real connections, also where the test loses one."""
    result = suite("synchronous").runpytest("--db-isolation=commit")
    result.assert_outcomes(passed=12)
    assert databases_of() == []


@pytest.mark.parametrize("isolation", ["rollback", "commit"])
def test_address_of_the_environment(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    """Libpq prefers PGHOSTADDR to the host that it is given: nobody is led to that server."""
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    result = suite("synchronous").runpytest(f"--db-isolation={isolation}", "-k", "both or driver")
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.since(15)  # by a sweep
def test_sessions_are_as_new_without_being_opened_anew(suite: Suite) -> None:
    """Nothing that a test has done to its connections reaches the next, on the same sessions."""
    result = suite("renewed_sync").runpytest("-p", "no:randomly", "--db-isolation=commit")
    result.assert_outcomes(passed=11)
    assert "replaced" not in result.stdout.str()


def test_workers_of_xdist(suite: Suite) -> None:
    """Each worker has a database of its own."""
    result = suite("synchronous").runpytest_subprocess("-n", "2")
    result.assert_outcomes(passed=12)


def test_both_families(suite: Suite) -> None:
    """Under rollback isolation a test uses one family or is told why not; under commit, both."""
    result = suite("both_families").runpytest("-p", "no:randomly")
    # The error is of the one that kills its connection.
    result.assert_outcomes(passed=6, failed=2, errors=1)
    error = "E *SandboxRefusedError: '*' at *.py:* goes through"
    hint = '*add @pytest.mark.db(isolation="commit") to *::test_'
    result.stdout.fnmatch_lines(
        [
            f"{error} asyncpg (db, db_engine), and the test has used psycopg (db_sync*{hint}async*",
            f"{error} psycopg (db_sync, *, and the test has used asyncpg (db, db_engine) *{hint}*",
        ]
    )


@pytest.mark.parametrize("isolation", ["rollback", "commit"])
def test_web_applications(suite: Suite, isolation: str) -> None:
    """Endpoints in threads work: Starlette's client, an executor, `asyncio.to_thread`."""
    older_client = "ignore:Using `httpx` with `starlette.testclient` is deprecated"
    result = suite("web").runpytest(f"--db-isolation={isolation}", "-W", older_client)
    if isolation == "rollback":
        result.assert_outcomes(passed=5)
    else:
        result.assert_outcomes(passed=4, failed=1)
        result.stdout.fnmatch_lines(["FAILED *::test_client_sees_what_the_test_has_not_committed*"])


@pytest.mark.usefixtures("afresh")
def test_without_psycopg(suite: Suite) -> None:
    """The error says what to install; tests that do not need it pass."""
    pytester = suite("every_fixture")
    pytester.makepyfile(
        sitecustomize="import sys; sys.modules['psycopg'] = None",
        test_sync="""
        def test_engine(db_sync_engine): pass
        def test_session(db_sync): pass
        """,
    )
    pytester.syspathinsert()
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=11, errors=2)
    result.stdout.fnmatch_lines(
        ['E *FixtureError: *uses psycopg 3*Install it: pip install "db-testing[[]sync]".']
    )


def test_a_release_of_psycopg_that_lacks_what_is_needed(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused when the engine is made, with the name that is missing."""
    pytester = suite()
    pytester.makepyfile(
        """
        import psycopg

        del psycopg.ServerCursor.__mro__[1]._described

        def test_engine(db_sync_engine): pass
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *FixtureError: psycopg 3.* has no ServerCursor._described, *"])


def test_session_options(suite: Suite) -> None:
    """Sessions have the application's options, and the class that its asynchronous ones wrap."""
    pytester = suite(mode="auto", more="db_session_options = options:OPTIONS")
    pytester.makepyfile(
        options="""
        from sqlalchemy.orm import Session

        class Mine(Session): pass

        OPTIONS = {"expire_on_commit": False, "sync_session_class": Mine}
        """,
        test_options="""
        from options import Mine

        def test_synchronous(db_sync):
            assert type(db_sync) is Mine
            assert db_sync.expire_on_commit is False

        async def test_asynchronous(db):
            assert type(db.sync_session) is Mine
        """,
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_each_application_has_an_engine(suite: Suite) -> None:
    """Two schemas in one run are two databases for synchronous code too."""
    pytester = suite(conftest=None)
    for name in ("one", "two"):
        pytester.makepyfile(
            **{
                f"{name}/conftest": f"""
                import pytest
                from sqlalchemy import Column, Integer, MetaData, Table
                from db_testing import Schema

                @pytest.fixture(scope="session")
                def db_schema():
                    metadata = MetaData()
                    Table("{name}", metadata, Column("id", Integer, primary_key=True))
                    return Schema.from_metadata(metadata)
                """,
                f"{name}/test_{name}": f"""
                from sqlalchemy import text

                def test_table(db_sync):
                    db_sync.execute(text("INSERT INTO {name} DEFAULT VALUES"))
                    db_sync.commit()
                    assert db_sync.scalar(text("SELECT id FROM {name}")) == 1
                """,
            }
        )
    pytester.runpytest("--import-mode=importlib").assert_outcomes(passed=2)


def test_what_the_sandbox_could_not_do_fails_the_test(suite: Suite) -> None:
    """A test that swallows the loss of its connection fails, and the next starts clean."""
    pytester = suite()
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy.exc import OperationalError

        def test_swallows(db_sync):
            db_sync.add(Item(name="a"))
            db_sync.flush()
            with pytest.raises(OperationalError):
                db_sync.connection().exec_driver_sql(
                    "SELECT pg_terminate_backend(pg_backend_pid())"
                )

        def test_next(db_sync):
            item = Item(name="a")
            db_sync.add(item)
            db_sync.commit()
            assert item.id == 1
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*the server closed the connection that held the transaction*"])
