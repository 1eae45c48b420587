"""What cannot work is said once per run, however many tests there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., pytest.RunResult]

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""

TESTS = """
    import pytest

    @pytest.mark.parametrize("number", range(30))
    async def test_many(db, number):
        pass
"""

HEAD = """
    import pytest
    from db_testing import Schema
    from sqlalchemy import Column, Integer, MetaData, Table, text
    from sqlalchemy.types import NullType

    FAILS = Column("x", Integer, server_default=text("nonsense()"))

    @pytest.fixture(scope="session")
    def db_schema():
"""

CASES = {
    "missing": ("", "no schema: a test asked for the database"),
    "wrong type": ("return 'tables'", "returned 'tables', which is no schema"),
    "no file": (
        "return Schema.from_alembic('nowhere.ini')",
        "Schema.from_alembic('nowhere.ini'): there is no such file",
    ),
    "cannot be rendered": (
        "return Schema.from_metadata(Table('t', MetaData(), Column('x', NullType)).metadata)",
        "has no fingerprint: CompileError",
    ),
    "cannot be created": (
        "return Schema.from_metadata(Table('t', MetaData(), FAILS).metadata)",
        "function nonsense() does not exist",
    ),
}


SEQUENTIALLY_AND_NOT = pytest.mark.parametrize(
    "workers",
    [
        pytest.param([], id="sequential"),
        pytest.param(["-n", "2"], id="xdist", marks=pytest.mark.slow),
    ],
)


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run thirty database tests of an application whose schema is wrong."""

    def run_tests(body: str, *arguments: str, ini: str = "") -> pytest.RunResult:
        if body:
            pytester.makeconftest(f"{HEAD}        {body}\n")
        pytester.makeini(INI + ini)
        pytester.makepyfile(TESTS)
        return pytester.runpytest_subprocess(*arguments)

    return run_tests


@SEQUENTIALLY_AND_NOT
@pytest.mark.parametrize("case", CASES)
def test_unusable_schema_is_shown_once(run: Run, case: str, workers: list[str]) -> None:
    """The first test that needs the database shows the error; the run ends, no test is a victim."""
    body, reason = CASES[case]
    result = run(body, *workers)
    output = result.stdout.str()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert output.count(reason) == 1, output
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output


@SEQUENTIALLY_AND_NOT
def test_unreachable_server_is_shown_once(run: Run, workers: list[str]) -> None:
    """A server that is not there is one error, and its password is not shown."""
    body = "return Schema.from_metadata(MetaData())"
    result = run(body, "--db-server=postgresql://u:s3cret@127.0.0.1:1/d", *workers)
    output = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert output.count("cannot connect to postgresql://u:***@127.0.0.1:1/d") == 1, output
    assert "s3cret" not in output


def test_named_schema_that_cannot_be_imported_is_shown_once(run: Run) -> None:
    """The ini key is read when the first test needs the database."""
    result = run("", ini="db_schema = nowhere:metadata")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert result.stdout.str().count("the ini key db_schema = 'nowhere:metadata'") == 1
