"""A template is copied in the way that was the fastest when it was built, whatever the server."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from db_testing._template import _claims, _clones, _copies, _naming, _template, _uses
from db_testing.errors import ServerError

from .conftest import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from db_testing._server._admin import Admin
    from db_testing._template._copies import Connection
    from db_testing.schema import Schema, SchemaLike

CLOSE = 0.005
"""Seconds within which two ways count as equally fast: the query's log is not our own clock."""

MADE = re.compile(r'CREATE DATABASE "(\w+)" TEMPLATE "(\w+)" ENCODING \'UTF8\'(?: STRATEGY (\w+))?')


class Copy(NamedTuple):
    """A copy that was asked for."""

    name: str
    source: str
    way: str | None
    elapsed: float
    succeeded: bool


@contextlib.contextmanager
def copies(admin: Admin) -> Iterator[list[Copy]]:
    """Log which databases are copied, and how."""
    found: list[Copy] = []
    methods = [""]

    def log(query: object) -> None:
        sql: str = query.query  # type: ignore[attr-defined]  # a named tuple without types
        if sql.startswith("SET file_copy_method"):
            methods.append(sql.rpartition(" ")[2])
        if made := MADE.fullmatch(sql):
            name, source, way = made.groups()
            if way == _copies.FILES and methods[-1] == "clone":
                way = _copies.SHARED
            succeeded = query.exception is None  # type: ignore[attr-defined]
            found.append(Copy(name, source, way, query.elapsed, succeeded))  # type: ignore[attr-defined]

    admin.connection.add_query_logger(log)
    try:
        yield found
    finally:
        admin.connection.remove_query_logger(log)


@pytest.fixture
def worker(admin: Admin, unique: str) -> Iterator[str]:
    """Hold a name for a worker's database, which is gone after the test."""
    name = f"dbt_{unique}_01234567_a_main"
    admin.run(_claims.take, admin.connection, name)
    yield name
    _claims.drop(admin, name)


def test_each_way_is_tried_when_a_template_is_built(
    admin: Admin, template: Callable[[SchemaLike], str], schema: Schema
) -> None:
    """It is noted with the template which was the fastest; of the copies nothing is left."""
    ways = admin.run(_copies.ways, admin.connection)
    with copies(admin) as made:
        name = template(schema)
    tried = [copy for copy in made if copy.source.startswith(_naming.BUILDING_PREFIX)]
    assert sorted(str(copy.way) for copy in tried) == sorted(ways)
    took = {copy.way: copy.elapsed for copy in tried if copy.succeeded}
    noted = admin.run(_uses.way, admin.connection, name)
    assert noted in took or not ways
    assert took.get(noted, 0) <= min(took.values(), default=0) + CLOSE
    print_of = name.removeprefix(_naming.TEMPLATE_PREFIX)
    assert admin.run(names_of, admin, print_of[:24]) == [name]


@pytest.mark.parametrize("way", _copies.WAYS)
def test_copies_are_made_in_the_way_that_is_noted(  # noqa: PLR0917  # fixtures
    admin: Admin,
    template: Callable[[SchemaLike], str],
    schema: Schema,
    worker: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That of the template, also for copies of its copies, until it is built anew."""
    offered = admin.run(_copies.ways, admin.connection)
    noted = way if way in offered else next(iter(offered), None)
    name, print_of = template(schema), _template.fingerprint(admin, schema)
    admin.run(lambda: _uses.note(admin.connection, name, copied=noted))
    monkeypatch.setattr(_uses, "AGAIN", dt.timedelta())  # each use is noted
    layer = worker.replace("main", "layer")
    with copies(admin) as made:
        _clones.clone(admin, schema, print_of, worker)
        _clones.copy(admin, worker, layer, print_of)
        _clones.renew(admin, schema, print_of, worker)
    _claims.drop(admin, layer)
    assert [copy[:3] for copy in made] == [
        (worker, name, noted),
        (layer, worker, noted),
        (worker, name, noted),
    ]


@pytest.mark.parametrize("noted", [None, 7, ["WAL_LOG"], "WAL_LOG; DROP DATABASE postgres"])
def test_way_that_is_not_ours_is_not_believed(
    admin: Admin, template: Callable[[SchemaLike], str], schema: Schema, worker: str, noted: object
) -> None:
    """Anybody may write a comment, or a version of db-testing that knows more ways or none."""
    name, print_of = template(schema), _template.fingerprint(admin, schema)
    admin.run(lambda: _uses.note(admin.connection, name, copied=noted))
    with copies(admin) as made:
        _clones.clone(admin, schema, print_of, worker)
    likeliest = next(iter(admin.run(_copies.ways, admin.connection)), None)
    assert [copy[:3] for copy in made] == [(worker, name, likeliest)]


def test_way_that_fails_is_not_taken(
    admin: Admin,
    template: Callable[[SchemaLike], str],
    schema: Schema,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not every file system can share blocks: a template is built nevertheless."""
    ways = admin.run(_copies.ways, admin.connection)

    async def with_one_more(_: object) -> list[str]:
        return [*ways, "HOPE"] if ways else []

    monkeypatch.setattr(_copies, "ways", with_one_more)
    name = template(schema)
    noted = admin.run(_uses.way, admin.connection, name)
    assert (noted in ways) is bool(ways)


def test_way_that_takes_longer_is_given_up(
    admin: Admin,
    template: Callable[[SchemaLike], str],
    schema: Schema,
    worker: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits for what is not the fastest; of a copy that is given up nothing is left."""
    name = template(schema)
    ways = admin.run(_copies.ways, admin.connection)
    copy = _copies._copy

    async def with_one_more(_: object) -> list[str]:
        return [*ways, "SLOW"] if ways else []

    async def copied(
        connection: Connection, name: str, source: str, way: str | None, bound: float | None
    ) -> None:
        if way != "SLOW":
            await copy(connection, name, source, way, bound)
            return
        await copy(connection, name, source, None)
        await connection.execute("SELECT pg_sleep(60)", timeout=bound)

    monkeypatch.setattr(_copies, "ways", with_one_more)
    monkeypatch.setattr(_copies, "_copy", copied)
    took = admin.run(_copies.measured, admin, name, worker)
    assert bool(took) is bool(ways)
    assert "SLOW" not in took
    assert admin.run(names_of, admin, worker) == []


def test_setting_that_may_not_be_repeated(admin: Admin, worker: str) -> None:
    """The error names it, and what can be done."""
    first = f'ALTER DATABASE "{worker}" SET nothing = 1'
    with pytest.raises(ServerError, match=r'SET nothing = 1\): .*"nothing".* Make this user a'):
        admin.run(_copies.create, admin.connection, worker, "template0", None, first)


@pytest.mark.parametrize(
    ("took", "way"),
    [
        ({_copies.LOG: 0.2, _copies.FILES: 0.1}, _copies.FILES),
        ({_copies.FILES: 0.3, _copies.SHARED: 0.2, _copies.LOG: 0.1}, _copies.LOG),
        ({}, None),
    ],
)
def test_fastest_way(took: dict[str, float], way: str | None) -> None:
    """It is what took the fewest seconds, and none where all failed."""
    assert _copies.fastest(took) == way
