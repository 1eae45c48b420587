"""A whole suite in another isolation: which tests fare differently there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db_testing._plugin import _outcomes

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Suite


@pytest.mark.parametrize(
    "distribution",
    [
        pytest.param((), id="sequential"),
        pytest.param(("-n", "2", "--dist", "worksteal"), id="xdist", marks=pytest.mark.slow),
    ],
)
def test_tests_that_fare_differently(suite: Suite, distribution: tuple[str, ...]) -> None:
    """Each is named, with what it came to here and there; the others are counted."""
    pytester = suite("artefacts", mode="auto")
    ordinary = pytester.runpytest_subprocess(*distribution, timeout=120)
    ordinary.assert_outcomes(passed=5, failed=2)
    ordinary.stdout.no_fnmatch_line("*fared differently*")

    check = pytester.runpytest_subprocess("--db-isolation=commit", *distribution, timeout=120)
    check.assert_outcomes(passed=4, failed=2, errors=1)
    name = "test_artefacts.py::test"
    check.stdout.fnmatch_lines(
        [
            "db-testing: 3 of 5 database tests fared differently than under another isolation",
            f"{name}_of_a_fixture: failed under commit, passed under rollback on 20*-*-*",
            f"{name}_only_committed: passed under commit, failed under rollback on 20*-*-*",
            f"{name}_only_rolled_back: failed under commit, passed under rollback on 20*-*-*",
        ],
        consecutive=True,
    )
    for other in ("neither_way: *", "marked: *", "cannot be compared"):
        check.stdout.no_fnmatch_line(f"*{other}*")

    # And back: what has been seen under commit isolation is known from now on.
    back = pytester.runpytest_subprocess("--db-isolation=rollback", *distribution, timeout=120)
    back.stdout.fnmatch_lines(["db-testing: 3 of 5 database tests fared differently*"])


def test_expected_failure_is_not_skipped(suite: Suite) -> None:
    """A test that fails as expected here, and is skipped there, fares differently."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text

        @pytest.mark.xfail
        async def test_expected(db):
            await db.execute(text("LISTEN news"))
            pytest.skip("nobody tells any")
        """
    )
    pytester.runpytest().assert_outcomes(xfailed=1)
    result = pytester.runpytest("--db-isolation=commit")
    result.stdout.fnmatch_lines(
        ["*::test_expected: skipped under commit, xfailed under rollback on 20*-*-*"]
    )


def test_tests_without_an_asynchronous_engine(suite: Suite) -> None:
    """They are compared as well."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        from sqlalchemy import text

        def test_sync(db_sync):
            db_sync.execute(text("SELECT 1"))

        def test_url(test_database_url, request):
            assert request.config.getoption("db_isolation") is None

        def test_that_asks_as_it_runs(request):
            test_url(request.getfixturevalue("test_database_url"), request)
        """
    )
    pytester.runpytest().assert_outcomes(passed=3)
    check = pytester.runpytest("--db-isolation=commit")
    check.stdout.fnmatch_lines(["db-testing: 2 of 3 database tests fared differently*"])


def test_nothing_to_compare(suite: Suite) -> None:
    """The first run, a run without a cache, and one without database tests say what they can."""
    pytester = suite("artefacts", mode="auto")
    for options, why in [
        (("-p", "no:cacheprovider"), "pytest's cache, which keeps outcomes, is turned off*"),
        ((), "no run under another isolation is known*"),
    ]:
        result = pytester.runpytest("--db-isolation=commit", "-k", "test_either", *options)
        result.assert_outcomes(passed=1, deselected=6)
        result.stdout.fnmatch_lines(
            [f"db-testing: 1 database test cannot be compared, because {why}"]
        )
    result = pytester.runpytest("--db-isolation=commit", "-k", "without")
    result.stdout.no_fnmatch_line("*compared*")


def test_what_auto_leaves_as_it_was(suite: Suite) -> None:
    """Tests in rollback isolation were so without it: nothing can be compared, nor has to be."""
    pytester = suite(mode="auto")
    pytester.makepyfile("async def test_ordinary(db): pass")
    pytester.runpytest()
    result = pytester.runpytest("--db-isolation=auto")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*compared*")


def test_what_is_remembered(suite: Suite) -> None:
    """A failure is not forgotten for the test's later phases, and a file that is gone is."""
    pytester = suite(mode="auto")
    source = """
        import pytest

        @pytest.fixture
        async def broken(db):
            yield
            assert False

        async def test_passes(broken):
            pass

        async def test_is_skipped(db):
            pytest.skip()
    """
    pytester.makepyfile(test_kept=source, test_gone=source)
    pytester.runpytest().assert_outcomes(passed=2, errors=2, skipped=2)
    assert remembered(pytester) == {
        f"test_{name}.py::test_{test}": word
        for name in ("kept", "gone")
        for test, word in [("passes", "failed"), ("is_skipped", "skipped")]
    }
    (pytester.path / "test_gone.py").unlink()
    pytester.runpytest("-k", "passes")
    assert remembered(pytester).keys() == {
        "test_kept.py::test_passes",
        "test_kept.py::test_is_skipped",
    }


def test_many(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Beyond a number of tests the rest is counted."""
    del tmp_path
    outcomes = _outcomes.Outcomes(pytestconfig)
    before, now = _outcomes.Outcome("passed", "2026-01-01"), _outcomes.Outcome("failed", "today")
    names = [f"test_{number}" for number in range(_outcomes.SHOWN + 3)]
    outcomes._before = {name: {"rollback": before} for name in names}
    outcomes._now = dict.fromkeys(names, ("commit", now))
    lines = outcomes.lines()
    assert len(lines) == 1 + _outcomes.SHOWN + 1
    assert lines[-1] == "... and 3 more"


def remembered(pytester: pytest.Pytester) -> dict[str, str]:
    """Return what the next run will know of rollback isolation."""
    config = pytester.parseconfigure()
    return {
        test: outcomes["rollback"][0]
        for test, outcomes in config.cache.get(_outcomes.CACHE, {}).items()
    }
