"""The table in the docs is the one that the tests prove."""

from __future__ import annotations

from . import table


def test_docs_are_up_to_date() -> None:
    """`docs/semantics.md` is what the generator writes."""
    assert table.DOCUMENT.read_text(encoding="utf-8") == table.render(), (
        "run: uv run python packages/db-testing/tests/semantics/table.py"
    )


def test_titles_are_unique() -> None:
    """No two rows say the same."""
    titles = [row.title for module in table.modules() for row in table.rows(module)]
    assert len(set(titles)) == len(titles)
