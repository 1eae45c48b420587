"""Sequences and identity columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .table import attempt, different, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "Sequences"

ADD = "INSERT INTO item (name) VALUES ($1) RETURNING id"


@same(gives=[1, 3])
async def test_gaps(w: World) -> object:
    """A rollback leaves a gap."""
    one = await w.connect()
    first = await one.fetchval(ADD, "a")
    transaction = one.transaction()
    await transaction.start()
    await one.fetchval(ADD, "b")
    await transaction.rollback()
    return [first, await one.fetchval(ADD, "c")]


@same(gives=[1, 1])
async def test_currval(w: World) -> object:
    """currval() and lastval() on the connection that drew the number."""
    one = await w.connect()
    await one.fetchval(ADD, "a")
    return [
        await one.fetchval("SELECT currval('item_id_seq')"),
        await one.fetchval("SELECT lastval()"),
    ]


@same(gives="ObjectNotInPrerequisiteStateError")
async def test_currval_before(w: World) -> object:
    """currval() before any number was drawn in this test."""
    one = await w.connect()
    return await attempt(one.fetchval("SELECT currval('item_id_seq')"))


@different(
    gives="ObjectNotInPrerequisiteStateError",
    here=1,
    note="All connections of a test are one session.",
)
async def test_currval_elsewhere(w: World) -> object:
    """currval() and lastval() are undefined on a connection that drew no number."""
    one, two = await w.connect(), await w.connect()
    await one.fetchval(ADD, "a")
    return await attempt(two.fetchval("SELECT lastval()"))


@same(gives=[41, 41, 42])
async def test_setval(w: World) -> object:
    """setval() is not rolled back."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    moved = await one.fetchval("SELECT setval('item_id_seq', 41)")
    await transaction.rollback()
    last = await one.fetchval("SELECT last_value FROM item_id_seq")
    return [moved, last, await one.fetchval(ADD, "a")]


@same(gives=[2, 10])
async def test_restart(w: World) -> object:
    """ALTER SEQUENCE ... RESTART is rolled back, or stays."""
    one = await w.connect()
    await one.fetchval(ADD, "a")
    transaction = one.transaction()
    await transaction.start()
    await one.execute("ALTER SEQUENCE item_id_seq RESTART WITH 10")
    await transaction.rollback()
    second = await one.fetchval(ADD, "b")
    await one.execute("ALTER SEQUENCE item_id_seq RESTART WITH 10")
    return [second, await one.fetchval(ADD, "c")]


@same(gives=[1, 2, 1])
async def test_truncate(w: World) -> object:
    """TRUNCATE ... RESTART IDENTITY is rolled back, or stays."""
    one = await w.connect()
    found = [await one.fetchval(ADD, "a")]
    transaction = one.transaction()
    await transaction.start()
    await one.execute("TRUNCATE item RESTART IDENTITY")
    await transaction.rollback()
    found.append(await one.fetchval(ADD, "b"))
    await one.execute("TRUNCATE item RESTART IDENTITY")
    return [*found, await one.fetchval(ADD, "c")]


@same(
    gives=[1, "GeneratedAlwaysError"],
    schema="CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY)",
)
async def test_identity(w: World) -> object:
    """An identity column counts, and refuses other values."""
    one = await w.connect()
    return [
        await one.fetchval("INSERT INTO t DEFAULT VALUES RETURNING id"),
        await attempt(one.execute("INSERT INTO t (id) VALUES (5)")),
    ]
