"""Database isolation: a private clone for a test, thrown away after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Suite


@pytest.mark.parametrize("distribution", [(), ("-n", "2", "--dist", "worksteal")])
def test_marked_tests_may_do_anything(
    suite: Suite, databases_of: Callable[[], list[str]], distribution: tuple[str, ...]
) -> None:
    """What would damage a shared database works, in whatever order, and nobody sees it."""
    pytester = suite("private", mode="auto")
    result = pytester.runpytest_subprocess(*distribution)
    result.assert_outcomes(passed=17)
    assert databases_of() == []


ORDERED = ("-p", "no:randomly")


def test_spare_is_made_while_the_test_before_runs(
    suite: Suite, databases_of: Callable[[], list[str]]
) -> None:
    """A test has the database that was made ahead; none is made where no test is to come."""
    result = suite("spares", mode="auto").runpytest(
        *ORDERED, "-k", "not killed and not layer and not wider"
    )
    result.assert_outcomes(passed=4, deselected=6)
    assert databases_of() == []


def test_spare_without_a_layer_is_no_use_above_one(suite: Suite) -> None:
    """What was made before a data layer was written is made again for the test above it."""
    result = suite("spares", mode="auto").runpytest(*ORDERED, "-k", "layer")
    result.assert_outcomes(passed=2, deselected=8)


def test_wider_fixture_that_a_test_in_its_own_asks_for(suite: Suite) -> None:
    """What watched the worker's database until then has been cut off from it, which is no error."""
    result = suite("spares", mode="auto").runpytest(*ORDERED, "-k", "wider")
    result.assert_outcomes(passed=2, deselected=8)


def test_unused_spare_is_dropped(suite: Suite, databases_of: Callable[[], list[str]]) -> None:
    """A run that ends before the test for which a database was made leaves none."""
    pytester = suite("spares", mode="auto")
    pytester.makeconftest(
        (pytester.path / "conftest.py").read_text()
        + """
@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    item.session.shouldstop = "enough"
"""
    )
    result = pytester.runpytest(*ORDERED, "-k", "test_before or own")
    result.assert_outcomes(passed=1, deselected=4)
    assert databases_of() == []


@pytest.mark.parametrize("when", ["killed", "killed_in_its_own"])
@pytest.mark.usefixtures("afresh")
def test_killed_run_leaves_a_spare_to_be_reaped(
    suite: Suite, databases_of: Callable[[], list[str]], when: str
) -> None:
    """SIGKILL leaves a spare, or the worker's own database aside; whoever comes next drops it."""
    pytester = suite("spares", mode="auto")
    pytester.runpytest_subprocess(*ORDERED, "-k", f"{when} or own_again")
    assert (pytester.path / "killed").exists()
    pytester.runpytest(*ORDERED, "-k", "test_after").assert_outcomes(passed=1, deselected=9)
    assert databases_of() == []


@pytest.mark.parametrize("by", ["flag", "ini"])
def test_whole_suite_under_database_isolation(suite: Suite, by: str) -> None:
    """A suite written for rollback passes in databases of its tests' own."""
    pytester = suite("every_fixture", more="db_isolation = database" if by == "ini" else "")
    result = pytester.runpytest(*(["--db-isolation=database"] if by == "flag" else []))
    result.assert_outcomes(passed=11)
    result.stdout.fnmatch_lines(["db-testing: *, database isolation"])
