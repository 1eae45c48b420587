"""pytest-queryguard counts statements in every isolation, as the page about it says."""

from __future__ import annotations

import re
import shutil

import pytest

from .conftest import DOCS

ONE_BY_ONE = """
from models import Author, Book
from sqlalchemy import select

async def titles(session):
    lines = []
    for book in await session.scalars(select(Book).order_by(Book.title)):
        author = await session.get(Author, book.author_id)
        lines.append(f"{book.title}, by {author.name}")
    return lines
"""

PLUGIN = ("-p", "pytest_queryguard.plugin")
ISOLATIONS = pytest.mark.parametrize("isolation", ["rollback", "commit", "database"])


@ISOLATIONS
def test_what_undoes_a_test_does_not_count(suite: pytest.Pytester, isolation: str) -> None:
    """The example passes: neither savepoints nor sweeps nor new databases are statements of it."""
    shutil.copytree(DOCS / "examples/queries", suite.path, dirs_exist_ok=True)
    result = suite.runpytest(*PLUGIN, f"--db-isolation={isolation}")
    result.assert_outcomes(passed=2)


def test_failure_is_as_the_page_shows_it(suite: pytest.Pytester) -> None:
    """Of the example, had it asked for each author by itself."""
    page = (DOCS / "how-to/queries.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"```\n(queryguard: .*?)  \.\.\.\n```", page, re.DOTALL)
    shutil.copytree(DOCS / "examples/queries", suite.path, dirs_exist_ok=True)
    (suite.path / "catalogue.py").write_text(ONE_BY_ONE, encoding="utf-8")
    assert shown in suite.runpytest(*PLUGIN).stdout.str()


@ISOLATIONS
def test_surplus_statements_are_listed(suite: pytest.Pytester, isolation: str) -> None:
    """With the line of each, through the fixtures of both drivers, and in threads."""
    shutil.copytree(DOCS / "examples/queries", suite.path, dirs_exist_ok=True)
    (suite.path / "test_catalogue.py").unlink()
    suite.makepyfile(
        test_too_many="""
        import asyncio
        import pytest
        from models import Book
        from sqlalchemy import select, text

        @pytest.mark.max_queries(2)
        async def test_async(db, db_engine, books):
            await db.execute(text("SELECT 1"))
            await db.commit()
            await db.execute(text("SELECT 2"))
            async with db_engine.connect() as connection:
                await connection.execute(text("SELECT 3"))

        @pytest.mark.max_queries(0)
        def test_sync(db_sync):
            db_sync.execute(text("SELECT 4"))

        @pytest.mark.max_queries(0)
        async def test_thread(db_sync_engine):
            def ask():
                with db_sync_engine.connect() as connection:
                    connection.execute(text("SELECT 5"))

            await asyncio.to_thread(ask)

        async def test_one_by_one(db, books):
            def titles(session):
                return [book.author.name for book in session.scalars(select(Book))]

            await db.run_sync(titles)
        """
    )
    result = suite.runpytest(*PLUGIN, f"--db-isolation={isolation}", "-p", "no:randomly")
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            "queryguard: expected at most 2 queries, got 3",
            "*1. SELECT 1  (test_too_many.py:8 in test_async)",
            "*2. SELECT 2  (test_too_many.py:10 in test_async)",
            "*3. SELECT 3  (test_too_many.py:12 in test_async)",
            "queryguard: expected at most 0 queries, got 1",
            "*1. SELECT 4  (test_too_many.py:16 in test_sync)",
            "queryguard: expected at most 0 queries, got 1",
            "*1. SELECT 5  (test_too_many.py:22 in ask)",
            "*Book.author was lazy-loaded 3 times",
        ]
    )
