"""A virtual connection does what psycopg's own does: each script runs on both."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row, scalar_row
from psycopg.types import TypeInfo

from db_testing._sandbox import _psycopg_cursor
from db_testing._sandbox._psycopg_cursor import numbered

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from db_testing._sandbox._psycopg import VirtualConnection

    from .conftest import World

    Connection = psycopg.Connection[Any]
    Script = Callable[[Connection], Iterator[Any]]

INSERT = "INSERT INTO author (name, notes) VALUES (%s, '{}')"
NAMES = "SELECT name FROM author ORDER BY name"


def attempt(step: Callable[[], Any]) -> Any:
    """Return what a step returns, or what it raises."""
    try:
        return step()
    except (psycopg.Error, TypeError, IndexError) as error:
        return type(error), str(error).split("\n")[0]


def status(c: Connection) -> str:
    """Return the status of the connection's transaction."""
    return c.info.transaction_status.name


def rows(c: Connection) -> Any:
    """Return the names of all authors."""
    return c.execute(NAMES).fetchall()


def commits_and_rollbacks(c: Connection) -> Iterator[Any]:
    """Transactions that begin by themselves."""
    yield status(c)
    c.execute(INSERT, ["a"])
    yield status(c)
    c.commit()
    yield status(c)
    c.commit()
    c.execute(INSERT, ["b"])
    c.rollback()
    c.rollback()
    yield rows(c)
    yield attempt(lambda: c.execute("SELECT 1/0"))
    yield status(c)
    yield attempt(lambda: c.execute("SELECT 1"))
    c.commit()  # which is a rollback
    yield status(c)
    yield rows(c)


def savepoints(c: Connection) -> Iterator[Any]:
    """Savepoints in raw SQL."""
    yield c.execute("SAVEPOINT a").statusmessage
    c.execute(INSERT, ["a"])
    cursor = c.execute("SELECT 1")
    cursor.execute('savepoint "B"')
    yield attempt(cursor.fetchall)[0], cursor.rowcount, cursor.description
    c.execute(INSERT, ["b"])
    yield c.execute('ROLLBACK TO "B"').statusmessage
    yield rows(c)
    yield c.execute("RELEASE a").statusmessage
    yield attempt(lambda: c.execute("RELEASE a"))
    yield status(c)
    c.rollback()
    c.autocommit = True
    for control in ("SAVEPOINT a", "RELEASE a", "ROLLBACK TO a"):
        yield attempt(functools.partial(c.execute, control))


def autocommit(c: Connection) -> Iterator[Any]:
    """Autocommit, in and out of transactions."""
    c.autocommit = True
    c.execute(INSERT, ["a"])
    yield status(c)
    yield attempt(lambda: c.execute(INSERT, ["a"]))
    c.rollback()
    yield rows(c), status(c)
    with c.transaction():
        yield attempt(lambda: setattr(c, "autocommit", False))
        c.execute(INSERT, ["b"])
        yield status(c)
    yield rows(c)
    c.autocommit = False
    rows(c)
    yield attempt(lambda: setattr(c, "autocommit", True))
    yield attempt(lambda: c.set_read_only(True))
    c.rollback()


def undone(c: Connection, name: str) -> Generator[Any, Any, psycopg.Transaction]:
    """Leave a block by an exception that it swallows."""
    with c.transaction(name) as block:
        yield block.savepoint_name
        c.execute(INSERT, ["c"])
        if block.savepoint_name:  # which mypy need not know
            raise psycopg.Rollback(block)
    return block


def blocks(c: Connection) -> Iterator[Any]:
    """Blocks of `transaction()`, nested, named, left by errors and otherwise."""
    with c.transaction() as one:
        c.execute(INSERT, ["a"])
        yield one.savepoint_name, one.status.name, attempt(c.commit), attempt(c.rollback)
        with c.transaction() as two:
            yield two.savepoint_name
            c.execute(INSERT, ["b"])
        yield two.status.name
        three = yield from undone(c, "mine")
        yield three.status.name
        with c.transaction(force_rollback=True) as four:
            c.execute(INSERT, ["d"])
        yield four.status.name
        five = c.transaction()
        block = five.__enter__()
        failure = psycopg.errors.DivisionByZero()
        yield attempt(lambda: c.execute("SELECT 1/0")), status(c)
        yield attempt(lambda: five.__exit__(type(failure), failure, None))
        yield block.status.name, status(c)
    yield one.status.name, rows(c), status(c)
    c.commit()
    with c.transaction("named") as six:
        yield six.savepoint_name
        with c.transaction():
            c.execute(INSERT, ["e"])
            if six.savepoint_name:  # as above
                raise psycopg.Rollback(six)
    yield rows(c)
    c.rollback()
    yield attempt(one.__enter__)
    outer, inner = c.transaction(), c.transaction()
    outer.__enter__()
    inner.__enter__()
    yield attempt(lambda: outer.__exit__(None, None, None))[0]
    yield attempt(lambda: inner.__exit__(None, None, None))[0]


def blocks_after_statements(c: Connection) -> Iterator[Any]:
    """A block in a transaction that a statement has begun is a savepoint."""
    c.execute(INSERT, ["a"])
    with c.transaction():
        c.execute(INSERT, ["b"])
    yield status(c)
    c.rollback()
    yield rows(c)


def block_that_does_not_begin(c: Connection) -> Iterator[Any]:
    """A block in a failed transaction, after which psycopg 3.3.1 refuses even rollback()."""
    yield attempt(lambda: c.execute("SELECT 1/0"))[0]
    yield attempt(c.transaction().__enter__), status(c)


def blocks_that_break(c: Connection) -> Iterator[Any]:
    """A block whose savepoint is gone, and one that is closed in."""
    for failure in (None, psycopg.errors.DivisionByZero()):
        c.execute(INSERT, ["a"])
        manager = c.transaction("gone")
        block = manager.__enter__()
        c.execute("RELEASE gone")
        kind = None if failure is None else type(failure)
        yield attempt(functools.partial(manager.__exit__, kind, failure, None))
        yield block.status.name, status(c)
        c.rollback()
    manager = c.transaction()
    block = manager.__enter__()
    c.close()
    yield attempt(lambda: manager.__exit__(None, None, None)), block.status.name


def copies(c: Connection) -> Iterator[Any]:
    """COPY both ways, also with errors on either side."""
    with c.cursor() as cursor:
        with cursor.copy("COPY author (name, notes) FROM STDIN") as copy:
            copy.write_row(["a", "{}"])
            copy.write_row(["b", "{}"])
        yield cursor.rowcount
    with c.cursor().copy("COPY (SELECT name FROM author WHERE name > %s) TO STDOUT", [""]) as copy:
        yield list(copy.rows())
    c.commit()

    def interrupted() -> None:
        with c.cursor().copy("COPY author (name, notes) FROM STDIN") as copy:
            copy.write_row(["c", "{}"])
            raise IndexError

    yield attempt(interrupted), status(c)
    c.rollback()
    yield attempt(lambda: list(c.cursor().copy("COPY nowhere TO STDOUT").__enter__()))[0], status(c)
    c.rollback()
    yield rows(c)


def many(c: Connection) -> Iterator[Any]:
    """`executemany`, `stream`, several results, rows of several kinds, composed queries."""
    cursor = c.cursor()
    cursor.executemany(INSERT, [["a"], ["b"], ["c"]])
    yield cursor.rowcount
    yield attempt(lambda: c.cursor().executemany(INSERT, [["d"], ["a"]]))[0], status(c)
    c.rollback()
    cursor.executemany(INSERT + " RETURNING name", [["a"], ["b"]], returning=True)
    yield [result.fetchall() for result in cursor.results()]
    yield list(c.cursor().stream(NAMES))
    yield attempt(lambda: list(c.cursor().stream("SELECT 1/0")))[0], status(c)
    c.rollback()
    yield [result.fetchall() for result in c.execute("SELECT 1; SELECT 2").results()]
    yield c.cursor(row_factory=dict_row).execute("SELECT 1 AS one").fetchall()
    c.row_factory = scalar_row
    yield c.execute(sql.SQL("SELECT {}").format(sql.Literal("it's"))).fetchall()
    yield c.execute(b"SELECT %(x)s || %(y)s || '%%'", {"x": "1", "y": "2"}).fetchall()
    yield c.execute("SELECT %s::text[]", [["a", None]], binary=True).fetchall()
    yield c.execute(NAMES, prepare=True).fetchall(), c.execute(NAMES, prepare=True).fetchall()


def other_cursors(c: Connection) -> Iterator[Any]:
    """Cursors of other classes, also those that no connection has made."""
    yield psycopg.ClientCursor(c).execute("SELECT %s", ["it's"]).fetchall()
    yield attempt(lambda: psycopg.ClientCursor(c).execute("SELECT 1/0")), status(c)
    c.rollback()
    c.cursor_factory = psycopg.RawCursor
    yield c.execute("SELECT $1::int", [3]).fetchall()
    c.cursor_factory = psycopg.ClientCursor
    yield c.execute("SELECT %s, 'Z'", [3]).fetchall()
    info = TypeInfo.fetch(c, "int4range")
    yield info and (info.name, info.oid)


def named_cursors(c: Connection) -> Iterator[Any]:
    """Server-side cursors: of their transaction, and of one name again and again."""
    c.cursor().executemany(INSERT, [[f"{number:02}"] for number in range(12)])
    c.commit()
    for again in (c.commit, c.rollback):
        with c.cursor("mine") as cursor:
            cursor.itersize = 5
            cursor.execute(NAMES)
            yield cursor.fetchone(), cursor.fetchmany(2), list(cursor)
            cursor.scroll(-1)
            yield cursor.fetchall()
            c.execute("UPDATE author SET notes = '[]' WHERE name = '00'")
            again()
            yield attempt(cursor.fetchone), status(c)
            cursor.execute("SELECT 1")
            yield cursor.fetchall()
    c.commit()
    left = c.cursor("left")
    left.execute(NAMES)
    c.rollback()
    left.close()
    one, other = c.cursor("one"), c.cursor("other", scrollable=True)
    one.execute(NAMES)
    other.execute(NAMES + " DESC")
    yield one.fetchone(), other.fetchone(), one.fetchone()
    twin = c.cursor("one")
    yield attempt(lambda: twin.execute(NAMES))
    c.rollback()
    twin.close()
    one.close()
    other.close()
    with c.cursor("held", withhold=True) as held:
        held.execute(NAMES)
        c.commit()
        yield held.fetchone(), status(c)
    c.autocommit = True
    with c.cursor("outside") as cursor:
        yield attempt(lambda: cursor.execute(NAMES))
    for _ in range(2):
        with c.cursor("again", withhold=True) as held:
            held.execute(NAMES)
            yield held.fetchall()


def closing(c: Connection) -> Iterator[Any]:
    """A closed connection, and notices before."""
    heard: list[str | None] = []
    c.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    c.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
    yield heard
    yield c.closed, c.broken
    cursor = c.cursor()
    c.close()
    c.close()
    yield c.closed, c.broken
    for step in (c.cursor, c.commit, c.rollback, lambda: c.execute("SELECT 1")):
        yield attempt(step)
    yield attempt(lambda: cursor.execute("SELECT 1"))


def context(c: Connection) -> Iterator[Any]:
    """The connection as a context commits, or rolls back, and closes."""
    with c:
        c.execute(INSERT, ["a"])
    yield c.closed


SCRIPTS = [
    commits_and_rollbacks,
    savepoints,
    autocommit,
    blocks,
    blocks_after_statements,
    block_that_does_not_begin,
    blocks_that_break,
    copies,
    many,
    other_cursors,
    named_cursors,
    closing,
    context,
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_scripts(world: World, options: dict[str, Any], plain: Connection, script: Script) -> None:
    """The same results, errors and states, step by step."""
    virtual = list(script(world.connect()))
    world.end()
    real = psycopg.connect(**options)
    try:
        expected = list(script(real))
    finally:
        real.close()
        plain.execute(
            "DELETE FROM book; DELETE FROM author; SELECT setval('author_id_seq', 1, false)"
        )
    assert virtual == expected


def test_named_parameters_are_looked_up() -> None:
    """Not searched: SQLAlchemy sends ten thousand of them at a time."""
    compared = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    params = {Name(f"p{number}"): number for number in range(500)}
    compared = 0
    sql, _ = numbered(",".join(f"%(p{number})s" for number in range(500)), params)
    assert sql.endswith(",$499,$500")
    assert compared < 5_000


@pytest.mark.parametrize(
    ("query", "rows", "text", "args"),
    [
        ("SELECT %s, '%%', %b", [[1, 2], (3, 4)], "SELECT $1, '%', $2", [[1, 2], [3, 4]]),
        (
            "SELECT %(a)s, %(b)s, %(a)s",
            [{"b": 2, "a": 1, "c": 0}, {"a": 3}],
            "SELECT $1, $2, $1",
            [[1, 2], [3, None]],
        ),
        ("SELECT '%%'", [None], "SELECT '%%'", [()]),
    ],
)
def test_placeholders_are_numbered_once(
    monkeypatch: pytest.MonkeyPatch, query: str, rows: list[Any], text: str, args: list[Any]
) -> None:
    """As they follow each other in the text, so that rows differ in their arguments only."""
    numbered(query, rows[0])
    monkeypatch.setattr(_psycopg_cursor, "_PLACEHOLDER", None)
    assert [numbered(query, row) for row in rows] == [(text, each) for each in args]


def test_a_copy_that_was_left_in_the_middle(connect: Callable[[], VirtualConnection]) -> None:
    """It makes its own connection useless, as a real one, and no other."""
    connection, other = connect(), connect()
    with connection.cursor().copy("COPY (SELECT generate_series(1, 99999)) TO STDOUT") as copy:
        next(iter(copy))
    with pytest.raises(psycopg.OperationalError, match="another command is already in progress"):
        connection.execute("SELECT 1")
    connection.close()
    assert other.execute("SELECT 1").fetchone() == (1,)
