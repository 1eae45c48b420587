"""The list of mutations in the README is the one that is run."""

from __future__ import annotations

from . import mutations


def test_readme_is_up_to_date() -> None:
    """`README.md` is what the runner writes."""
    assert mutations.README.read_text(encoding="utf-8") == mutations.table(), (
        "run: uv run python packages/db-testing/tests/mutations/mutations.py --table"
    )


def test_every_invariant_is_broken() -> None:
    """No invariant of the design goes without a mutation."""
    assert {mutation.invariant for mutation in mutations.MUTATIONS} == set(range(8))
