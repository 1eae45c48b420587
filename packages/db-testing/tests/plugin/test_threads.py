"""Threads with event loops of their own, such as that of Starlette's `TestClient`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .conftest import SUITES

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Suite

INI = "db_bind =\n    application:engine\n    application:session_factory"


@pytest.fixture
def application(suite: Suite) -> Callable[..., pytest.Pytester]:
    """Write a suite that tests a FastAPI application."""

    def write(*names: str) -> pytest.Pytester:
        pytester = suite(*names, mode="auto", more=INI)
        pytester.makepyfile(application=(SUITES / "application.py").read_text())
        return pytester

    return write


@pytest.mark.parametrize("isolation", ["rollback", "commit"])
def test_one_loop_wherever_it_runs(
    application: Callable[..., pytest.Pytester],
    databases_of: Callable[[], list[str]],
    isolation: str,
) -> None:
    """A test may use the database from the loop of a thread, if that is the only one."""
    result = application("threads").runpytest_subprocess(f"--db-isolation={isolation}")
    result.assert_outcomes(passed=8)
    assert databases_of() == []


def test_many_loops_under_commit_isolation(
    application: Callable[..., pytest.Pytester], databases_of: Callable[[], list[str]]
) -> None:
    """With real connections each loop has its own, and none is left when the test is over."""
    result = application("threads_many_loops").runpytest_subprocess("--db-isolation=commit")
    result.assert_outcomes(passed=14)
    assert databases_of() == []


def test_many_loops_under_rollback_isolation(
    application: Callable[..., pytest.Pytester], databases_of: Callable[[], list[str]]
) -> None:
    """A second loop is refused, with what to do instead, and no later test suffers."""
    pytester = application("threads_many_loops", "threads")
    result = pytester.runpytest_subprocess("-k", "not lost", "--tb=line")
    outcomes = result.parseoutcomes()
    assert (outcomes["failed"], outcomes["passed"]) == (12, 8)
    refused = "*SandboxLoopError: *used the database from two event loops, the second time at*"
    result.stdout.fnmatch_lines([refused + '`with TestClient(app)`*isolation="commit"*'] * 12)
    assert databases_of() == []


@pytest.mark.parametrize("isolation", ["rollback", "commit"])
def test_dependency_override(suite: Suite, isolation: str) -> None:
    """An application whose sessions come by a dependency needs no `db_bind`."""
    result = suite("override_fastapi", mode="auto").runpytest(f"--db-isolation={isolation}")
    result.assert_outcomes(passed=2)
