"""Database tests need no event-loop configuration, and may have any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Suite


@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize("fixture_loop_scope", ["fixture-scope", "session"])
def test_nothing_configured(suite: Suite, mode: str, fixture_loop_scope: str) -> None:
    """Tests, their asynchronous fixtures of any scope and the engine share a loop by themselves."""
    pytester = suite("loops_open", mode=mode, fixture_loop_scope=fixture_loop_scope)
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=7)


@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize("fixture_loop_scope", ["fixture-scope", "function"])
def test_loop_chosen_by_each_test(suite: Suite, mode: str, fixture_loop_scope: str) -> None:
    """A test may choose the loop of any scope; each loop gets a connection of its own."""
    pytester = suite("loops_chosen", mode=mode, fixture_loop_scope=fixture_loop_scope)
    pytester.runpytest().assert_outcomes(passed=5)


@pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
def test_loop_chosen_for_all(suite: Suite, scope: str) -> None:
    """One scope for all tests and fixtures, by pytest-asyncio's own two keys."""
    pytester = suite(
        "every_fixture",
        fixture_loop_scope=scope,
        more=f"asyncio_default_test_loop_scope = {scope}",
    )
    pytester.runpytest().assert_outcomes(passed=11)


def test_loops_that_do_not_match_are_explained(suite: Suite) -> None:
    """A fixture forced on another loop than its test is named, and no later test suffers."""
    pytester = suite()
    pytester.makepyfile(
        """
        import pytest
        import pytest_asyncio
        from models import Item

        @pytest_asyncio.fixture(loop_scope="module")
        async def item(db):
            db.add(Item(name="a"))
            await db.commit()

        @pytest.mark.asyncio(loop_scope="session")
        async def test_mismatch(item, db):
            db.add(Item(name="b"))
            await db.commit()

        @pytest.mark.asyncio
        async def test_next(db):
            item = Item(name="a")
            db.add(item)
            await db.flush()
            assert item.id == 1
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*SandboxLoopError: *test_mismatch used the database from two*"])


def test_wider_fixture_ends_on_another_loop(suite: Suite) -> None:
    """A module's fixture may use the database as it ends; the next test is on a loop of its own."""
    pytester = suite()
    pytester.makepyfile(
        test_a="""
        import pytest
        import pytest_asyncio
        from sqlalchemy import text

        @pytest_asyncio.fixture(scope="module", loop_scope="module")
        async def engine_of_module(db_engine):
            yield db_engine
            async with db_engine.connect() as connection:
                await connection.execute(text("SELECT * FROM item"))

        @pytest.mark.asyncio(loop_scope="module")
        async def test_first(engine_of_module):
            pass
        """,
        test_b="""
        import pytest
        from sqlalchemy import text

        @pytest.mark.asyncio(loop_scope="function")
        async def test_next(db):
            await db.execute(text("ALTER TABLE item ADD COLUMN more text"))
            await db.commit()
        """,
    )
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=2)
