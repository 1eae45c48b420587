"""What a template's clones are is looked at once, and is what a look would find in each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, text

from db_testing._isolation._escapes import COUNTS_AT_ONCE, Watch
from db_testing._isolation._original import Original
from db_testing._isolation._picture import Picture
from db_testing._server._admin import connect, disconnect
from db_testing._statements._catalog import Catalog
from db_testing._template import _clones, _template, _uses
from db_testing.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import URL
    from sqlalchemy.orm import Session

    from db_testing._server._admin import Admin
    from db_testing.schema import SchemaLike


def some(session: Session) -> None:
    """Write rows, move sequences, and define what depends on transaction identity."""
    for statement in f"""
        INSERT INTO original (name) VALUES ('a'), ('b');
        CREATE SEQUENCE descending INCREMENT -1;
        SELECT nextval('descending');
        CREATE SEQUENCE unused START 7;
        CREATE TABLE emptied (id int);
        INSERT INTO emptied VALUES (1);
        DELETE FROM emptied;
        CREATE VIEW newest AS SELECT id, xmin FROM original;
        COMMENT ON VIEW newest IS 'those that were written last';
        ALTER DATABASE "{session.connection().engine.url.database}" SET work_mem = '5MB'
    """.split(";"):
        session.execute(text(statement))


@pytest.fixture
def schema(unique: str) -> Schema:
    """Return a schema that no other test has, with all that a look can find."""
    metadata = MetaData()
    columns = Column("id", Integer, primary_key=True), Column("name", Text)
    Table("original", metadata, *columns, comment=unique)
    return Schema.from_metadata(metadata, seed=some)


@pytest.fixture
def worker(
    admin: Admin, template: Callable[[SchemaLike], str], schema: Schema, clone: Callable[[str], URL]
) -> tuple[str, URL]:
    """Return the name of the template, and the URL of a clone."""
    name = template(schema)
    return name, clone(name)


def looked(admin: Admin, url: URL) -> Original:
    """Look at a database."""

    async def look() -> Original:
        connection = await connect(url)
        try:
            return await Original.look(connection)
        finally:
            await disconnect(connection)

    return admin.run(look)


async def read(url: URL) -> Catalog:
    """Read what the sandbox needs to know of a database."""
    connection = await connect(url)
    try:
        return await Catalog.read(connection)
    finally:
        await disconnect(connection)


def number(admin: Admin, template: str) -> int:
    """Return a template's number."""
    return admin.run(_uses.oid, admin.connection, template)


async def key_of(admin: Admin, template: str) -> list[Any]:
    """Return what a note must hold for."""
    return await Original.key(admin.connection, await _uses.oid(admin.connection, template))


def noted(admin: Admin, template: str) -> Original | None:
    """Return what has been noted of a template."""
    said = admin.run(_uses.noted, admin.connection, template).get("original")
    return Original.noted(said, admin.run(key_of, admin, template))


def begun(admin: Admin, url: URL, template: str, of: int | None = None) -> Watch:
    """Return a watch that has looked at a database before its first test."""
    watch = Watch(admin, url, (template, of or number(admin, template)))
    watch.begin()
    watch.close()
    return watch


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Picture]:
    """Note the pictures that are taken."""
    found: list[Picture] = []
    take = Picture.take

    async def note(*args: object) -> Picture:
        found.append(await take(*args))  # type: ignore[arg-type]  # the connection
        return found[-1]

    monkeypatch.setattr(Picture, "take", note)
    return found


def test_each_clone_is_what_the_first_was(
    admin: Admin,
    worker: tuple[str, URL],
    schema: Schema,
    clone: Callable[[str], URL],
    taken: list[Picture],
) -> None:
    """Rows and who wrote them, positions, and what depends on identity; and its own settings."""
    template, url = worker
    if admin.server_version < COUNTS_AT_ONCE:
        begun(admin, url, template)
        assert noted(admin, template) is None
        return
    first = looked(admin, url)
    assert first.picture.rows.keys() == {"original"} | {
        name for name in first.picture.rows if first.picture.rows[name].number == 0
    }
    assert len(first.picture.sequences) == 3
    assert first.identity == ("view newest",)
    assert noted(admin, template) is None
    clone(template)
    taken.clear()
    begun(admin, url, template)
    assert len(taken) == 1
    found = noted(admin, template)
    assert found is not None
    key = admin.run(key_of, admin, template)
    assert found == Original.noted(json.loads(json.dumps(found.note(key))), key)
    assert Original.noted(found.note(key), [*key[:2], "elsewhere", *key[3:]]) is None
    clone(template)
    watch = begun(admin, url, template)
    assert len(taken) == 1
    assert watch._picture == looked(admin, url).picture
    catalog = admin.run(read, url)
    assert found.known == (catalog.sequences, catalog.identity)
    assert _template.ensure(admin, schema, _template.fingerprint(admin, schema)) == template
    assert noted(admin, template) == found


def test_clone_that_somebody_has_used_is_looked_at(
    admin: Admin, worker: tuple[str, URL], clone: Callable[[str], URL], taken: list[Picture]
) -> None:
    """What a fixture has committed before the first test is there, and no template's."""
    template, url = worker
    begun(admin, url, template)
    before = noted(admin, template)
    clone(template)

    async def commit() -> None:
        connection = await connect(url)
        await connection.execute("INSERT INTO original (name) VALUES ('c')")
        await disconnect(connection)

    admin.run(commit)
    taken.clear()
    watch = begun(admin, url, template)
    assert len(taken) == 1
    assert watch._picture == taken[0]
    assert watch._picture.rows["original"].number == 3
    assert noted(admin, template) == before


def test_what_another_version_has_noted_is_no_answer(
    admin: Admin, worker: tuple[str, URL], taken: list[Picture]
) -> None:
    """It may have asked otherwise, or be somebody's comment."""
    template, url = worker
    for said in (7, {}, {"key": ["another"], "rows": {}}):
        admin.run(lambda said=said: _uses.note(admin.connection, template, original=said))
        assert noted(admin, template) is None
    begun(admin, url, template)
    assert len(taken) == 1


def test_replaced_database_is_looked_at(
    admin: Admin, worker: tuple[str, URL], taken: list[Picture]
) -> None:
    """It may be a copy of a data layer's, with rows that no template has."""
    template, url = worker
    begun(admin, url, template)
    _clones.recopy(admin, template, url.database or "", template)
    taken.clear()
    watch = Watch(admin, url, (template, number(admin, template)))
    watch.renewed()
    watch.begin()
    watch.close()
    assert len(taken) == 1


def test_template_that_was_built_anew_tells_nothing(
    admin: Admin, worker: tuple[str, URL], schema: Schema, taken: list[Picture]
) -> None:
    """A clone of the one before has other numbers in it; nor is that noted with the new one."""
    template, url = worker
    before = number(admin, template)
    _template.rebuild(admin, schema, _template.fingerprint(admin, schema), "another run")
    assert number(admin, template) != before
    begun(admin, url, template, before)
    assert len(taken) == 1
    assert noted(admin, template) is None
