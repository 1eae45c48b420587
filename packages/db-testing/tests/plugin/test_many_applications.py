"""Several applications, each with its own `db_schema`, in one pytest session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Suite

CONFTEST = """
import pytest
from sqlalchemy import Column, Integer, MetaData, Table
from db_testing import Schema

METADATA = MetaData()
Table("{table}", METADATA, Column("id", Integer, primary_key=True))

@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_metadata(METADATA)
"""
TEST = """
from sqlalchemy import inspect, text

async def test_tables(db_connection, db):
    tables = await db_connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert tables == ["{table}"]
    await db.execute(text("INSERT INTO {table} DEFAULT VALUES"))
    await db.commit()
    assert (await db.execute(text("SELECT id FROM {table}"))).scalar_one() == 1

test_tables_again = test_tables
"""


def write_application(folder: Path, table: str) -> None:
    """Write an application with one table, and its tests."""
    folder.mkdir(parents=True)
    (folder / "conftest.py").write_text(CONFTEST.format(table=table))
    (folder / "test_app.py").write_text(TEST.format(table=table))


@pytest.mark.parametrize("options", [[], ["-n", "2", "--dist", "worksteal"]])
def test_each_conftest_gets_its_own_database(
    suite: Suite, databases_of: Callable[[], list[str]], options: list[str]
) -> None:
    """Session fixtures exist once for each `db_schema`, in whatever order the tests run."""
    pytester = suite(conftest=None, mode="auto", more="addopts = --import-mode=importlib")
    for name in ("one", "two", "three"):
        write_application(pytester.path / "apps" / name / "tests", name)
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=6)
    assert databases_of() == []


def test_schema_of_a_module(suite: Suite) -> None:
    """A test module may define a schema of its own beside the application's."""
    pytester = suite("every_fixture", mode="auto")
    pytester.makepyfile(test_own=CONFTEST.format(table="own") + TEST.format(table="own"))
    pytester.runpytest().assert_outcomes(passed=13)


def test_applications_with_one_schema_share_a_database(
    suite: Suite, databases_of: Callable[[], list[str]]
) -> None:
    """Two definitions of the same schema need one database, and drop it once."""
    pytester = suite(conftest=None, mode="auto", more="addopts = --import-mode=importlib")
    for name in ("one", "two"):
        write_application(pytester.path / name, "same")
    pytester.runpytest().assert_outcomes(passed=4)
    assert databases_of() == []
