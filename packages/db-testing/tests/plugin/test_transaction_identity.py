"""What rollback isolation cannot give is said where a test fails for it (invariant 0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Suite


def test_failure_names_what_depends_on_it(suite: Suite) -> None:
    """A trigger misfires; the failure names its function and the marker, which makes it pass."""
    pytester = suite("transaction_identity", conftest="transaction_identity_conftest")
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*_ test_misfires _*",
            "*- db-testing -*",
            "Under rollback isolation*savepoints of one*",
            "  function note_change()",
            'If this test depends on it, add @pytest.mark.db(isolation="commit")*',
            "*_ test_marked_and_failing _*",
            "*_ test_without_a_database _*",
        ]
    )
    assert result.stdout.str().count("- db-testing -") == 1


def test_failure_names_statements(suite: Suite) -> None:
    """A statement that mentions transaction identity is named with its line, once."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        from sqlalchemy import text

        async def test_statement(db):
            for _ in range(2):
                await db.execute(text("SELECT txid_current()"))
            assert False

        async def test_other(db):
            await db.execute(text("SELECT 1"))
            assert False
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["  'SELECT txid_current()' at *test_failure_names_statements.py:5"]
    )
    assert result.stdout.str().count("- db-testing -") == 1


def test_failing_fixture(suite: Suite) -> None:
    """A fixture that fails gets the section too."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text

        @pytest.fixture
        async def fails(db):
            await db.execute(text("SELECT xmin FROM item"))
            assert False

        async def test_statement(fails): pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["  'SELECT xmin FROM item' at *"])
