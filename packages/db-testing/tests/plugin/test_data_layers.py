"""Data layers: rows written once for many tests, and a way back in the middle of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Suite

EACH = pytest.mark.parametrize("isolation", ["rollback", "commit", "database"])


@EACH
def test_layers_of_class_and_module(
    suite: Suite, databases_of: Callable[[], list[str]], isolation: str
) -> None:
    """Each test begins with the rows of its scopes, of whatever isolation and loop it is."""
    pytester = suite("layers", mode="auto")
    result = pytester.runpytest("-p", "no:randomly", f"--db-isolation={isolation}")
    # The test that kills its connection under rollback isolation is told so.
    result.assert_outcomes(passed=14, errors=1 if isolation == "rollback" else 0)
    assert databases_of() == []


def test_layers_of_many_workers(suite: Suite, databases_of: Callable[[], list[str]]) -> None:
    """Each xdist worker has layers of its own, whichever tests it runs in whichever order."""
    pytester = suite("layers", mode="auto")
    arguments = (
        "-n",
        "2",
        "--dist",
        "worksteal",
        "--deselect",
        "test_layers.py::test_connection_is_lost",
    )
    pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=13)
    assert databases_of() == []


@EACH
def test_examples_of_one_test(suite: Suite, isolation: str) -> None:
    """A block in a test undoes what was done in it, ids and all, and nothing from before it."""
    pytester = suite("layers_inside", mode="auto")
    pytester.runpytest(f"--db-isolation={isolation}").assert_outcomes(passed=6)


@pytest.mark.since(15)  # before, each test ends with a new database
def test_sweep_cannot_go_beneath_a_layer(suite: Suite) -> None:
    """Its rows stay in the database, so the next test gets a new one, and the run says so."""
    pytester = suite("layers_inside", mode="auto")
    result = pytester.runpytest("--db-isolation=commit")
    result.stdout.fnmatch_lines(["*a new database after *(*): a data layer in the test"])


SUITE = """
import pytest
from models import Item
from sqlalchemy import select

@pytest.fixture(scope="module")
async def rows(db_layer, {more}):
    async with db_layer() as session:
        session.add(Item(name="a"))
        {step}
        yield

@pytest.mark.parametrize("time", [1, 2])
async def test_rows(rows, db, time):
    assert (await db.scalars(select(Item.name))).all() == ["a"]

async def test_other(db):
    assert (await db.scalars(select(Item.name))).all() == []
"""


def test_rows_that_cannot_be_written(suite: Suite) -> None:
    """A layer that cannot be committed is the error of each test that needs it, and of no other."""
    pytester = suite(mode="auto")
    pytester.makepyfile(SUITE.format(more="db_engine", step='session.add(Item(name="a"))'))
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(errors=2, passed=1)
    result.stdout.fnmatch_lines(["*UniqueViolationError*"])


def test_layer_whose_fixture_fails(suite: Suite) -> None:
    """What was written before the failure is gone for the other tests."""
    pytester = suite(mode="auto")
    pytester.makepyfile(SUITE.format(more="db_engine", step="await session.commit(); 1 / 0"))
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(errors=2, passed=1)


def test_connection_lost_in_a_layer(suite: Suite) -> None:
    """A fixture that keeps a connection of its own open is told so."""
    pytester = suite(mode="auto")
    step = "KEPT.append(await db_engine.connect())"
    text = SUITE.format(more="db_engine", step=step).replace("@", "KEPT = []\n@", 1)
    pytester.makepyfile(text)
    result = pytester.runpytest_subprocess("-k", "rows")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["*DataLayerError: a data layer is complete (*) while connections are in use: 1.*"]
    )


def test_block_that_does_not_pause(suite: Suite) -> None:
    """A fixture that ends its layer before its tests begin gives them nothing, as it says."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        SUITE.format(more="db_engine", step="").replace("        yield", "    yield")
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(failed=2, passed=1)


def test_commit_that_escapes_takes_the_layer_with_it(suite: Suite) -> None:
    """Who really commits under rollback isolation is named by each test whose rows are gone."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        SUITE.format(more="db_engine", step="")
        + """
async def test_escapes(rows, db_asyncpg):
    await db_asyncpg.execute(
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; COMMIT"
    )

async def test_misses(rows, db):
    await db.scalars(select(Item.name))
"""
    )
    result = pytester.runpytest("-p", "no:randomly", "-k", "test_escapes or test_misses")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["*DataLayerError: the rows of a data layer are gone, because *test_escapes really*"]
    )


def test_layer_for_synchronous_code(suite: Suite) -> None:
    """A plain `with` is told to write the layer in an asynchronous fixture; that works."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import select

        @pytest.fixture(scope="module")
        async def rows(db_layer):
            async with db_layer() as session:
                session.add(Item(name="a"))
                yield

        @pytest.mark.parametrize("time", [1, 2])
        def test_begins_with_the_rows(rows, db_sync, time):
            assert db_sync.scalars(select(Item.name)).all() == ["a"]
            db_sync.add(Item(name="b"))
            db_sync.commit()

        def test_synchronous(db_layer):
            with db_layer():
                pass
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["E *DataLayerError: `with db_layer()` was used in synchronous *"])
