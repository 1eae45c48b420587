"""extensions= and seed=: what comes before a schema and after it, once, in the template."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, text

from db_testing import _template
from db_testing.errors import SchemaError
from db_testing.schema import Schema

from .test_sql import fetch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from db_testing._admin import Admin
    from db_testing.schema import SchemaLike

CALLS: list[str] = []


@pytest.fixture
def table(unique: str) -> Table:
    """Return a table that no other test has."""
    return Table(unique, MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))


async def write(session: AsyncSession, table: str = "", name: str = "a") -> None:
    """Write a row, and leave it uncommitted."""
    CALLS.append(name)
    await session.execute(text(f"INSERT INTO {table} (name) VALUES ('{name}')"))


def write_synchronously(session: Session, table: Table) -> None:
    """Do the same in synchronous code."""
    session.execute(insert(table).values(name="a"))


async def fail(session: AsyncSession) -> None:
    """Fail as applications do."""
    raise KeyError("nothing")


@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
def test_seed_is_written_once_and_copied(
    template: Callable[[SchemaLike], str], clone: Callable[[str], URL], table: Table, kind: str
) -> None:
    """Each clone has the rows, committed, with their ids; the sequence goes on behind them."""
    CALLS.clear()
    seed = (
        functools.partial(write, table=table.name)
        if kind == "asynchronous"
        else functools.partial(write_synchronously, table=table)
    )
    schema = Schema.from_metadata(table.metadata, seed=seed)
    for _ in range(2):
        url = clone(template(schema))
        assert fetch(url, f"SELECT * FROM {table.name}") == [(1, "a")]
        insertion = f"INSERT INTO {table.name} DEFAULT VALUES RETURNING id"
        assert fetch(url, insertion) == [(2,)]
    assert CALLS in (["a"], [])


def test_changed_seed_is_written_on_the_same_tables(
    template: Callable[[SchemaLike], str], clone: Callable[[str], URL], table: Table
) -> None:
    """The tables have a template of their own, so that they are built once for all seeds."""
    built = []

    class Counted:
        def fingerprint(self) -> str:
            return table.name

        def apply(self, url: URL) -> None:
            built.append(url)
            Schema.from_metadata(table.metadata).apply(url)

    for name in ("a", "b"):
        seed = functools.partial(write, table=table.name, name=name)
        url = clone(template(Schema(Counted(), seed=seed)))
        assert fetch(url, f"SELECT name FROM {table.name}") == [(name,)]
    assert len(built) == 1


def test_seed_that_fails_is_named(
    template: Callable[[SchemaLike], str], table: Table, admin: Admin
) -> None:
    """The error shows the line; no template is left that lacks its rows."""
    schema = Schema.from_metadata(table.metadata, seed=fail)
    with pytest.raises(SchemaError, match=r"seed=fail failed in .*test_seed.py, line \d+: KeyErr"):
        template(schema)
    template(Schema.from_metadata(table.metadata))  # so that it goes as well
    with pytest.raises(SchemaError):
        _template.ensure(admin, schema, _template.fingerprint(admin, schema))


def test_fingerprint_follows_what_a_seed_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file, its arguments, and all files of the packages that its module uses."""
    package = tmp_path / "shop_of_seeds"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "taxonomy.py").write_text("NAMES = ['a']\n")
    (package / "taxonomy.csv").write_text("a,b\n")
    module = tmp_path / "seeds_of_a_test.py"
    module.write_text("from shop_of_seeds import taxonomy\nasync def seed(session, n=0): pass\n")
    monkeypatch.syspath_prepend(tmp_path)

    def fingerprint(**arguments: int) -> str:
        for name in ("shop_of_seeds", "shop_of_seeds.taxonomy", "seeds_of_a_test"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        seed = importlib.import_module("seeds_of_a_test").seed
        if arguments:
            seed = functools.partial(seed, **arguments)
        return Schema.from_metadata(seed=seed).fingerprint()

    prints = [fingerprint()]
    assert fingerprint() == prints[0]
    prints += [fingerprint(n=1), fingerprint(n=2)]
    for path in (module, package / "taxonomy.py", package / "taxonomy.csv"):
        path.write_text(path.read_text() + "\n")
        prints.append(fingerprint())
    assert len(set(prints)) == len(prints)
    assert Schema.from_metadata().fingerprint() not in prints


def test_seed_without_a_source_is_one_error() -> None:
    """Nothing would tell when it changes."""
    schema = Schema.from_metadata(seed=print)
    with pytest.raises(SchemaError, match="has no source that would tell when it changes"):
        schema.fingerprint()


def test_extensions_are_there_before_the_tables(empty: URL, unique: str) -> None:
    """A column may have a type of theirs, and one extension may need another."""
    metadata = MetaData()
    Table(unique, metadata, Column("x", Text), Column("id", Integer, primary_key=True))
    schema = Schema.from_metadata(metadata, extensions=["hstore", "earthdistance"])
    schema.apply(empty)
    names = {name for (name,) in fetch(empty, "SELECT extname FROM pg_extension")}
    assert names == {"plpgsql", "hstore", "earthdistance", "cube"}
    assert schema.fingerprint() != Schema.from_metadata(metadata).fingerprint()
    alone = Schema.from_metadata(metadata, extensions="hstore").fingerprint()
    assert alone == Schema.from_metadata(metadata, extensions=["hstore"]).fingerprint()


def test_extension_that_is_not_installed_is_one_error(empty: URL) -> None:
    """The error says which ones there are."""
    with pytest.raises(SchemaError, match=r"'postgis_x' is not installed .* It has .*hstore"):
        Schema.from_metadata(extensions=["postgis_x"]).apply(empty)
