"""anyio's pytest plugin runs database tests, with and without pytest-asyncio beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Suite

BACKEND = """
import pytest
from models import Base
from db_testing import Schema

@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_metadata(Base.metadata)

@pytest.fixture(scope="{scope}")
def anyio_backend():
    return {backend!r}
"""
ON_UVLOOP = ("asyncio", {"use_uvloop": True})


@pytest.mark.parametrize(
    ("scope", "backend"), [("function", "asyncio"), ("module", "asyncio"), ("session", ON_UVLOOP)]
)
def test_database_tests_share_a_loop(suite: Suite, scope: str, backend: object) -> None:
    """Whatever the scope of the backend: one loop for database tests, a context for each."""
    pytester = suite("anyio_tests", conftest=None)
    pytester.makeconftest(BACKEND.format(scope=scope, backend=backend))
    pytester.runpytest("-p", "anyio").assert_outcomes(passed=16)


def test_without_pytest_asyncio(suite: Suite) -> None:
    """With pytest-asyncio turned off every fixture works."""
    pytester = suite("anyio_tests", "unittest_classes", conftest=None)
    pytester.makeconftest(BACKEND.format(scope="session", backend="asyncio"))
    pytester.makeini("[pytest]\nfilterwarnings = error\npythonpath = .")
    pytester.runpytest("-p", "anyio", "-p", "no:asyncio").assert_outcomes(passed=25)


def test_beside_pytest_asyncio(suite: Suite) -> None:
    """Tests of both plugins in one run, in any order, each on its own plugin's loop."""
    pytester = suite("anyio_tests", "every_fixture", "loops_open", conftest=None)
    pytester.makeconftest(BACKEND.format(scope="module", backend="asyncio"))
    pytester.runpytest("-p", "anyio").assert_outcomes(passed=34)


def test_in_auto_mode_of_pytest_asyncio(suite: Suite) -> None:
    """pytest-asyncio in auto mode runs all tests, and needs nobody to say so."""
    pytester = suite(conftest=None, mode="auto")
    pytester.makeconftest(BACKEND.format(scope="module", backend="trio"))
    pytester.makepyfile(
        """
        import pytest
        from models import Item

        @pytest.mark.anyio
        async def test_connection(db_connection, db):
            db.add(Item(name="a"))
            await db.commit()
        """
    )
    pytester.runpytest("-p", "anyio").assert_outcomes(passed=1)


def test_no_plugin_runs_the_test(suite: Suite) -> None:
    """A connection for a test that nobody runs is refused, and the two remedies named."""
    pytester = suite()
    pytester.makeini("[pytest]\npythonpath = .")
    pytester.makepyfile("async def test_nobody(db_connection): pass")
    result = pytester.runpytest("-p", "anyio", "-p", "no:asyncio")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*test_nobody*run by no plugin*@pytest.mark.anyio, or turn*"])


TRIO = """
    import pytest
    from sqlalchemy import text

    pytestmark = pytest.mark.anyio

    @pytest.fixture(scope="module")
    async def reads(db_engine):
        async with db_engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def test_session(db): pass
    async def test_engine_in_a_fixture(reads): pass
    async def test_no_database(): pass
"""


@pytest.mark.parametrize("first", ["asyncio", "trio"])
def test_trio_is_refused(suite: Suite, first: str) -> None:
    """A database test on trio is refused, with what to define; others run, on both backends."""
    pytester = suite()
    pytester.makepyfile(TRIO)
    backends = sorted(["asyncio", "trio"], key=first.__ne__)
    pytester.makeconftest(
        (pytester.path / "conftest.py").read_text()
        + f"""
@pytest.fixture(scope="module", params={backends})
def anyio_backend(request):
    return request.param
"""
    )
    result = pytester.runpytest("-p", "anyio", "-p", "no:randomly")
    result.assert_outcomes(passed=4, errors=2)
    line = (
        "E*FixtureError: *::test_{}[[]trio] asked for the database and runs on trio, but asyncpg*"
    )
    result.stdout.fnmatch_lines_random([line.format("session"), line.format("engine_in_a_fixture")])
    result.stdout.fnmatch_lines(['E*return "asyncio"'])


ALTERNATING = """
    import asyncio
    import pytest
    import sniffio
    from models import Item

    pytestmark = pytest.mark.anyio
    BACKEND = {backend!r}

    @pytest.fixture(scope="session")
    def anyio_backend():
        return BACKEND

    @pytest.fixture(scope="module")
    async def library():
        return sniffio.current_async_library()

    if BACKEND == "trio":
        async def test_library(library):
            assert library == sniffio.current_async_library() == "trio"
    else:
        async def test_database(db):
            loop = type(asyncio.get_running_loop())
            assert loop.__module__.startswith("uvloop" if "uvloop" in str(BACKEND) else "asyncio")
            db.add(Item(name="a"))
            await db.commit()
"""


def test_backends_that_alternate(suite: Suite) -> None:
    """A held loop gives way to a test that wants another backend, database or not."""
    pytester = suite()
    wanted = {
        "a": "asyncio",
        "b": "trio",
        "c": ON_UVLOOP,
        "d": "asyncio",
        "e": "trio",
        "f": "asyncio",
    }
    for name, backend in wanted.items():
        pytester.makepyfile(**{f"test_{name}": ALTERNATING.format(backend=backend)})
    pytester.runpytest("-p", "anyio", "-p", "no:randomly").assert_outcomes(passed=6)


def test_wider_fixture_keeps_its_task(suite: Suite) -> None:
    """A cancel scope that a module's fixture opens is left in the task that opened it."""
    pytester = suite(conftest=None)
    pytester.makeconftest(BACKEND.format(scope="module", backend="asyncio"))
    pytester.makepyfile(
        """
        import anyio
        import pytest
        from models import Item

        pytestmark = pytest.mark.anyio

        @pytest.fixture(scope="module")
        async def group(db_engine):
            async with anyio.create_task_group() as group:
                yield group

        @pytest.mark.parametrize("time", [1, 2])
        async def test_group(group, db, time):
            db.add(Item(name="a"))
            await db.commit()
        """
    )
    pytester.runpytest("-p", "anyio").assert_outcomes(passed=2)
