"""Templates that are not used any more go, those of others never; on a server of the tests' own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from db_testing._template import _template, _uses
from db_testing.schema import Schema

if TYPE_CHECKING:
    from db_testing._server._admin import Admin

    from .conftest import Embedded


@pytest.fixture
def admin(embedded: Embedded) -> Admin:
    """Connect to a server without a template."""
    embedded.acquire()
    return embedded.connect()


def build(admin: Admin, table: str) -> str:
    """Build a template, or use it."""
    metadata = MetaData()
    Table(table, metadata, Column("id", Integer, primary_key=True))
    schema = Schema.from_metadata(metadata)
    return _template.ensure(admin, schema, _template.fingerprint(admin, schema))


def databases(admin: Admin) -> set[str]:
    """List our databases."""
    sql = "SELECT datname FROM pg_database WHERE datname ~ '^dbt_'"
    return {row["datname"] for row in admin.run(admin.connection.fetch, sql)}


def last_used(admin: Admin, database: str, comment: object) -> None:
    """Say when a database was last used."""
    text = comment if isinstance(comment, str) else json.dumps(comment)
    admin.run(admin.connection.execute, f"COMMENT ON DATABASE \"{database}\" IS '{text}'")


def test_templates_that_nobody_uses_are_dropped(admin: Admin) -> None:
    """Building one makes room. A use is noted; somebody else's database is not looked at."""
    old, new, used = (build(admin, name) for name in ("old", "new", "used"))
    foreign = "dbt_template_of_somebody_else"
    admin.run(admin.connection.execute, f"CREATE DATABASE {foreign}")
    for name in (old, used, foreign):
        last_used(admin, name, {"used": "2020-01-01T00:00:00+00:00", "run": None})
    build(admin, "used")
    another = build(admin, "another")
    assert databases(admin) == {new, used, foreign, another}


@pytest.mark.parametrize("comment", ["whatever", {"used": 5}, {}, []])
def test_more_than_are_kept(admin: Admin, monkeypatch: pytest.MonkeyPatch, comment: object) -> None:
    """The one that was not used for the longest goes first, such as one that does not say."""
    monkeypatch.setattr(_uses, "NUMBER", 2)
    first, second = build(admin, "first"), build(admin, "second")
    last_used(admin, first, {"used": "2999-01-01T00:00:00+00:00"})  # a clock that was put back
    last_used(admin, second, comment)
    third = build(admin, "third")
    assert databases(admin) == {first, third}
