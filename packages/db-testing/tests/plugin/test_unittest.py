"""`unittest.TestCase` and `unittest.IsolatedAsyncioTestCase`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Suite


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_classes_with_injected_fixtures(suite: Suite, mode: str) -> None:
    """Each test of a class starts from the template, `asyncSetUp` included."""
    suite("unittest_classes", mode=mode).runpytest().assert_outcomes(passed=9)


@pytest.mark.parametrize("fixture", ["db_connection", "db_asyncpg"])
def test_open_connection_is_refused(suite: Suite, fixture: str) -> None:
    """A connection cannot be open before the class has its loop; the error names what to take."""
    pytester = suite()
    pytester.makepyfile(
        f"""
        import unittest
        import pytest

        class TestClass(unittest.IsolatedAsyncioTestCase):
            @pytest.fixture(autouse=True)
            def inject(self, {fixture}):
                pass

            async def test_method(self):
                pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["E*FixtureError: *::test_method asked for an open connection, but*Take db_engine or *"]
    )
