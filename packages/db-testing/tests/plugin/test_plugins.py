"""Other plugins that change how tests run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Suite

ANYIO = """
import pytest
from models import Base
from db_testing import Schema

@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_metadata(Base.metadata)

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


@pytest.mark.parametrize("plugin", ["asyncio", "anyio"])
def test_timeout_by_signal(
    suite: Suite, databases_of: Callable[[], list[str]], plugin: str
) -> None:
    """A test that pytest-timeout interrupts fails alone, and never goes on in a later one."""
    pytester = suite("timeouts", conftest=None, mode="auto")
    pytester.makeconftest(ANYIO)
    anyio = ["-p", "anyio", "-p", "no:asyncio", "--anyio-mode=auto", "-c", "anyio.ini"]
    (pytester.path / "anyio.ini").write_text("[pytest]\npythonpath = .\nfilterwarnings = error\n")
    result = pytester.runpytest_subprocess(
        "-p", "no:randomly", "--timeout-method=signal", *(anyio if plugin == "anyio" else [])
    )
    result.assert_outcomes(passed=3, failed=3)
    assert databases_of() == []


def test_timeout_by_thread(suite: Suite, databases_of: Callable[[], list[str]]) -> None:
    """The other method ends the process; the next run drops the database it leaves."""
    pytester = suite("timeouts", "every_fixture", mode="auto")
    result = pytester.runpytest_subprocess("--timeout-method=thread", "-k", "in_a_wait", timeout=60)
    assert result.ret == 1
    # Whether its database is still there cannot be asked: a run of another test may be the next.
    result.stdout.fnmatch_lines(["* Timeout *"])
    pytester.runpytest_subprocess("-k", "every_fixture").assert_outcomes(passed=11, deselected=6)
    assert databases_of() == []


def test_rerun_starts_clean(suite: Suite) -> None:
    """A test that pytest-rerunfailures runs again finds the template, and new fixtures."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import select

        RUNS = []

        @pytest.fixture
        async def item(db):
            item = Item(name="fixture")
            db.add(item)
            await db.commit()
            return item

        @pytest.mark.flaky(reruns=2)
        @pytest.mark.parametrize("isolation", [
            pytest.param(name, marks=pytest.mark.db(isolation=name))
            for name in ("rollback", "commit")
        ])
        async def test_flaky(item, db, isolation):
            RUNS.append(isolation)
            assert (await db.execute(select(Item.id))).scalars().all() == [1]
            db.add(Item(name="test"))
            await db.commit()
            if RUNS.count(isolation) == 2:
                await db.execute("no statement")
            assert RUNS.count(isolation) == 3
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=2)
    assert result.parseoutcomes()["rerun"] == 4


def test_rerun_answers_for_itself(suite: Suite) -> None:
    """What a test leaves behind is its error also when an earlier attempt has failed already."""
    pytester = suite(mode="auto", more="db_leaks = error")
    pytester.makepyfile(
        """
        import asyncio

        import pytest
        from sqlalchemy import text

        RUNS = []
        TASKS = []

        async def wait():
            await asyncio.Event().wait()

        @pytest.mark.flaky(reruns=1)
        async def test_flaky(db):
            RUNS.append(db)
            await db.execute(text("SELECT"))
            assert len(RUNS) == 2
            TASKS.append(asyncio.create_task(wait()))
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*left behind", "*task * was still running*"])


def test_repeated_tests_start_clean(suite: Suite) -> None:
    """Each repetition by pytest-repeat is a test of its own."""
    suite("every_fixture").runpytest("--count=3").assert_outcomes(passed=33)


def test_coverage_of_an_application(suite: Suite) -> None:
    """pytest-cov measures code that runs in SQLAlchemy's greenlets, also with xdist."""
    pytester = suite(mode="auto")
    (pytester.path / ".coveragerc").write_text("[run]\nconcurrency = greenlet, thread\n")
    pytester.makepyfile(
        application="""
        from models import Item

        async def insert(session):
            session.add(Item(name="a"))
            await session.flush()
            await session.run_sync(check)

        def check(session):
            assert session.is_active
            return "checked"
        """,
        test_application="""
        import pytest
        from application import insert

        @pytest.mark.parametrize("time", [1, 2])
        async def test_insert(db, time):
            await insert(db)
        """,
    )
    result = pytester.runpytest_subprocess("--cov=application", "-n", "2")
    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines([r"application\.py +\d+ +0 +100%"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_order(suite: Suite, seed: int) -> None:
    """Tests of every kind in an order that pytest-randomly chose, kept for two passes."""
    pytester = suite("every_fixture", "loops_chosen", "commits", "unittest_classes", mode="auto")
    # In a process of its own: what the suite lost on purpose is garbage of that process.
    result = pytester.runpytest_subprocess("-p", "randomly", f"--randomly-seed={seed}")
    result.assert_outcomes(passed=40)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_examples_of_hypothesis(suite: Suite, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An asynchronous Hypothesis test may use the database once its author has said that he knows.

    Fixtures of a function exist once for all examples, which Hypothesis objects to.
    """
    pytester = suite(mode=mode)
    monkeypatch.delenv("PYTEST_ADDOPTS")  # with Hypothesis's own plugin
    pytester.makepyfile(
        """
        import pytest
        from hypothesis import HealthCheck, given, settings, strategies as st
        from models import Item
        from sqlalchemy import text

        NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)

        @pytest.mark.asyncio
        @settings(
            max_examples=10,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(name=NAMES)
        async def test_session(db, name):
            db.add(Item(name=name))
            await db.flush()
            assert (await db.execute(text("SELECT name FROM item"))).scalar_one() == name
            await db.rollback()

        @pytest.mark.asyncio
        @settings(max_examples=10, deadline=None)
        @given(name=NAMES)
        async def test_session_fixtures_need_no_setting(db_sessionmaker, name):
            async with db_sessionmaker() as session:
                session.add(Item(name=name))
                await session.flush()

        @pytest.mark.asyncio
        @given(name=NAMES)
        async def test_refused_by_hypothesis(db, name):
            pass
        """
    )
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*FailedHealthCheck*function-scoped fixture 'db'*"])
