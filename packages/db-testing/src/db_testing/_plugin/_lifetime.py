"""Where a test begins and ends: before the first fixture of its own, and after the last is gone.

That is what an automatic fixture would do. It would cost each test, whether or not it uses the
database, more than all else that is done for it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from . import _attempt, _loops, _state

if TYPE_CHECKING:
    from collections.abc import Callable


def begin(test: pytest.Item) -> None:
    """Begin a test, unless it has begun, and end it when every fixture of its own is gone.

    Raises:
        pytest.UsageError: its marker's arguments are wrong.
    """
    if _attempt.begin(test):
        # What is registered first is called last.
        test.addfinalizer(functools.partial(_end, test))
        if _state.settings(test.config).keep_failed:
            _hear_of_failures(test)


def _hear_of_failures(test: pytest.Item) -> None:
    """Note which test fails in the end of a fixture: pytest tells of it when the test is undone."""
    add = test.addfinalizer

    def addfinalizer(fin: Callable[[], object]) -> None:
        def finish() -> None:
            try:
                fin()
            except (Exception, pytest.fail.Exception):
                test.stash[_attempt.ATTEMPT].failed_at_end = True
                raise

        add(finish)

    test.addfinalizer = addfinalizer  # type: ignore[method-assign]


def fixtures_are_there(test: pytest.Item) -> None:
    """Begin a test that has no fixture of its own, and hold the loop that it will run on.

    Raises:
        pytest.UsageError, FixtureError: as :func:`begin` and :func:`_loops.hold`.
    """
    begin(test)
    held = _loops.hold(test, uses_database=_loops.is_database_test(test))
    if held is not None:
        test.stash[_attempt.ATTEMPT].held = held


def _end(test: pytest.Item) -> None:
    vars(test).pop("addfinalizer", None)
    attempt = test.stash[_attempt.ATTEMPT]
    if attempt.held is not None:
        attempt.held.renew_context()
    if attempt.failed:
        _loops.end_interrupted(test, _state.loops(test.config))
    _attempt.end(test, shares_loop=_loops.shares_loop(test))
