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
