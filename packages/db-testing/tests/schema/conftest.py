"""A connection to the server that the tests run on, and schemas nobody else has."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from db_testing._server._admin import Admin
from db_testing._template import _claims, _clones, _naming, _template
from db_testing.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from db_testing.schema import SchemaLike

    Connect: TypeAlias = Callable[[], Admin]


async def names_of(admin: Admin, part: str) -> list[str]:
    """List our databases whose names contain something."""
    rows = await admin.connection.fetch("SELECT datname FROM pg_database WHERE datname ~ '^dbt_'")
    return sorted(row["datname"] for row in rows if part in row["datname"])


@pytest.fixture
def connect(test_database_url: str) -> Iterator[Connect]:
    """Connect as a worker does."""
    admins: list[Admin] = []

    def connect() -> Admin:
        admins.append(Admin(make_url(test_database_url).set(database="postgres")))
        return admins[-1]

    yield connect
    for admin in admins:
        admin.close()


@pytest.fixture
def admin(connect: Connect) -> Admin:
    """Return a connection."""
    return connect()


@pytest.fixture
def template(admin: Admin) -> Iterator[Callable[[SchemaLike], str]]:
    """Build templates that are gone after the test."""
    prints: list[str] = []

    def build(schema: SchemaLike) -> str:
        base = schema.base if isinstance(schema, Schema) else None
        prints.extend(_template.fingerprint(admin, each) for each in (base, schema) if each)
        return _template.ensure(admin, schema, prints[-1])

    yield build
    for print_of in prints:
        name = _naming.template_database(print_of)
        admin.run(admin.connection.execute, f'DROP DATABASE IF EXISTS "{name}"')
        assert admin.run(names_of, admin, print_of[:24]) == []


@pytest.fixture
def unique() -> str:
    """Return a name that no other test has, at any time."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def schema(unique: str) -> Schema:
    """Return a schema that no other test has."""
    metadata = MetaData()
    Table(unique, metadata, Column("id", Integer, primary_key=True), Column("name", Text))
    return Schema.from_metadata(metadata)


@pytest.fixture
def clone(admin: Admin, unique: str) -> Iterator[Callable[[str], URL]]:
    """Copy a database, and return the copy's URL."""
    name = f"dbt_{unique}_01234567_copy_main"

    def clone(source: str) -> URL:
        _clones.copy(admin, source, name, unique)
        return admin.url.set(database=name)

    yield clone
    _claims.drop(admin, name)


@pytest.fixture
def empty(clone: Callable[[str], URL]) -> URL:
    """Return the URL of an empty database."""
    return clone("template0")


def tables_of(url: URL) -> Sequence[str]:
    """List a database's tables as `schema.name`."""

    async def ask() -> Sequence[str]:
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                found = await connection.run_sync(
                    lambda c: {
                        f"{schema}.{table}"
                        for schema in inspect(c).get_schema_names()
                        if schema != "information_schema"
                        for table in inspect(c).get_table_names(schema)
                    }
                )
                return sorted(found)
        finally:
            await engine.dispose()

    return asyncio.run(ask())


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the names of files that are read as a whole."""
    names = []
    read_bytes = Path.read_bytes

    def note(path: Path) -> bytes:
        names.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    return names
