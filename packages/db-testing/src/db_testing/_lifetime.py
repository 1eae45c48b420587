"""Where a test begins and ends: before the first fixture of its own, and after the last is gone.

That is what an automatic fixture would do. It would cost each test, whether or not it uses the
database, more than all else that is done for it.
"""

from __future__ import annotations

import functools
from typing import Final

import pytest

from . import _anyio, _loops, _state

BEGUN: Final[pytest.StashKey[bool]] = pytest.StashKey()
HELD: Final[pytest.StashKey[_anyio.HeldLoop | None]] = pytest.StashKey()


def begin(test: pytest.Item) -> None:
    """Begin a test, unless it has begun, and end it when every fixture of its own is gone.

    Raises:
        pytest.UsageError: its marker's arguments are wrong.
    """
    if test.stash.get(BEGUN, False):
        return
    _state.begin(test)
    test.stash[BEGUN] = True
    test.stash[HELD] = None
    # What is registered first is called last.
    test.addfinalizer(functools.partial(_end, test))


def fixtures_are_there(test: pytest.Item) -> None:
    """Begin a test that has no fixture of its own, and hold the loop that it will run on.

    Raises:
        pytest.UsageError, FixtureError: as :func:`begin` and :func:`_loops.hold`.
    """
    begin(test)
    test.stash[HELD] = _loops.hold(test, uses_database=_loops.is_database_test(test))


def _end(test: pytest.Item) -> None:
    test.stash[BEGUN] = False
    held = test.stash.get(HELD, None)
    if held is not None:
        held.renew_context()
    if test.stash.get(_state.FAILED, False):
        _loops.end_interrupted(test, _state.loops(test.config))
    _state.end(test)
