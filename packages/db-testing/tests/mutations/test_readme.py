"""The list of mutations in the README is the one that is run, and can be run."""

from __future__ import annotations

import pytest

from . import mutations


def test_readme_is_up_to_date() -> None:
    """`README.md` is what the runner writes."""
    assert mutations.README.read_text(encoding="utf-8") == mutations.table(), (
        "run: uv run python packages/db-testing/tests/mutations/mutations.py --table"
    )


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda mutation: mutation.breaks)
def test_mutation_applies(mutation: mutations.Mutation) -> None:
    """What a mutation replaces stands in the source, once."""
    text = (mutations.SOURCE / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.original) == 1
    assert mutation.original != mutation.replacement


def test_every_invariant_is_broken() -> None:
    """No invariant of the design goes without a mutation."""
    assert {mutation.invariant for mutation in mutations.MUTATIONS} == set(range(8))
