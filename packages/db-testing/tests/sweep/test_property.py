"""Whatever the schema, and whatever several connections commit in it: the sweep restores it."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from db_testing._server._binaries import Binaries
from db_testing._server._identity import Identity

from .conftest import empty_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import URL

    from .conftest import Database

unhurried = settings(  # examples: a hundred for each server, thousands with the profile `night`
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

TYPES = {
    "int": ("1", "2"),
    "text": ("'a'", "''", "repeat('x', 5000)"),
    "numeric(9, 2)": ("1.50", "-7"),
    "jsonb": ("'{\"a\": 1}'", "'[]'"),
    "json": ("'{\"a\":  1}'", "'[]'"),
    "float8": ("0.1", "'NaN'", "1e300"),
    "timestamptz": ("'2020-01-01 00:00+02'", "now()"),
    "mood": ("'sad'", "'happy'"),
    "short": ("'ab'", "'c'"),
    "text[]": ("'{a,NULL}'", "'{}'"),
    "bytea": (r"'\x00ff'", "''"),
    "point": ("'(1,2)'", "'(0,0)'"),
}
KEYS = ("serial PRIMARY KEY", "int GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "int DEFAULT 7")
REFERENCES = (
    "",
    "DEFERRABLE INITIALLY DEFERRED",
    "ON DELETE CASCADE",
    "ON DELETE RESTRICT",
    "ON DELETE SET NULL",
)


@dataclass(frozen=True)
class Table:
    """A table to be made."""

    name: str
    key: str
    column: str
    partitioned: bool
    unlogged: bool
    logged_by_trigger: bool
    rows: int
    large: bool

    @property
    def has_key(self) -> bool:
        """Whether others may refer to it."""
        return "PRIMARY" in self.key and (self.partitioned or not self.unlogged)

    def sql(self) -> list[str]:
        """Return the statements that make it."""
        kind = "UNLOGGED " if self.unlogged and not self.partitioned else ""
        by = " PARTITION BY HASH (id)" if self.partitioned else ""
        statements = [
            (
                f'CREATE {kind}TABLE {self.name} (id {self.key}, "a b" {self.column}, r int,'
                f" twice int GENERATED ALWAYS AS (r * 2) STORED){by}"
            )
        ]
        if self.partitioned:
            statements += [
                f'CREATE TABLE other."{self.name.strip(chr(34))} {n}" PARTITION OF {self.name}'
                f" FOR VALUES WITH (MODULUS 2, REMAINDER {n})"
                for n in range(2)
            ]
        if self.logged_by_trigger:
            statements.append(
                f"CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {self.name}"
                f" FOR EACH ROW EXECUTE FUNCTION note()"
            )
        return statements


@st.composite
def tables(draw: st.DrawFn) -> list[Table]:
    """Return a few tables."""
    return [
        Table(
            name=f'"T {number}"' if draw(st.booleans()) else f"other.t{number}",
            key=draw(st.sampled_from(KEYS)),
            column=draw(st.sampled_from(sorted(TYPES))),
            partitioned=draw(st.integers(0, 4)) == 0,
            unlogged=draw(st.integers(0, 4)) == 0,
            logged_by_trigger=draw(st.integers(0, 2)) == 0,
            rows=draw(st.sampled_from([0, 0, 1, 3])),
            large=draw(st.integers(0, 9)) == 0,
        )
        for number in range(draw(st.integers(1, 5)))
    ]


@st.composite
def schemas(draw: st.DrawFn) -> tuple[list[Table], list[str]]:
    """Return tables, and everything that makes them and what is in them."""
    made = draw(tables())
    statements = [line for table in made for line in table.sql()]
    for table in made:
        for _ in range(table.rows):  # some of them may be alike
            value = draw(st.sampled_from(TYPES[table.column]))
            statements.append(f'INSERT INTO {table.name} ("a b") VALUES ({value})')
    keyed = [table for table in made if table.has_key]
    for number, table in enumerate(made):
        refers: bool = draw(st.booleans())
        if keyed and refers:
            target, how = draw(st.sampled_from(keyed)), draw(st.sampled_from(REFERENCES))
            statements.append(
                f"ALTER TABLE {table.name} ADD CONSTRAINT c{number} FOREIGN KEY (r)"
                f" REFERENCES {target.name} {how}"
            )
    if draw(st.booleans()):
        statements.append(f"CREATE MATERIALIZED VIEW seen AS SELECT * FROM {made[0].name}")
    return made, statements


def statement(table: Table) -> st.SearchStrategy[str]:
    """Return something that a test does to a table."""
    value = st.sampled_from(TYPES[table.column])
    rows = 3000 if table.large else 3
    return st.one_of(
        value.map(lambda v: f'INSERT INTO {table.name} ("a b") VALUES ({v})'),
        value.map(
            lambda v: f'INSERT INTO {table.name} ("a b") SELECT {v} FROM generate_series(1, {rows})'
        ),
        st.just(f"INSERT INTO {table.name} (r) VALUES (1)"),
        value.map(lambda v: f'UPDATE {table.name} SET "a b" = {v}'),
        st.just(f"UPDATE {table.name} SET r = id WHERE r IS NULL"),
        st.just(f"DELETE FROM {table.name} WHERE id = 1"),
        st.just(f"DELETE FROM {table.name} WHERE ctid = (SELECT min(ctid) FROM {table.name})"),
        st.just(f"DELETE FROM {table.name}"),
        st.just(f"TRUNCATE {table.name} RESTART IDENTITY CASCADE"),
    )


OF_TRANSACTIONS = ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s"]
ANYWHERE = [
    "SELECT setval('loose', 77)",
    "SELECT nextval('loose')",
    "SELECT lo_from_bytea(0, 'abc')",
    "CREATE TEMP TABLE scratch AS SELECT 1",
    "NOTIFY somebody",
    "REFRESH MATERIALIZED VIEW seen",
]


@st.composite
def work(draw: st.DrawFn, made: list[Table]) -> list[tuple[int, str]]:
    """Return statements in transactions, and which connection executes each."""
    to_a_table = st.one_of([statement(table) for table in made])
    others = [st.sampled_from(OF_TRANSACTIONS), st.sampled_from(ANYWHERE)]
    # one_of() would give each alternative of each table as much weight as all of these.
    step = st.sampled_from([to_a_table, to_a_table, *others]).flatmap(lambda kind: kind)
    return draw(st.lists(st.tuples(st.integers(0, 1), step), min_size=1, max_size=14))


SHARED = [
    "CREATE SCHEMA other",
    "CREATE TYPE mood AS ENUM ('sad', 'happy')",
    "CREATE DOMAIN short AS text CHECK (length(value) < 3)",
    "CREATE SEQUENCE loose START 5",
    "CREATE TABLE log (at timestamptz DEFAULT now(), what text)",
    (
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO log (what) VALUES (TG_OP); RETURN NULL; END$$"
    ),
]


@functools.cache
def pg_dump() -> Path:
    """Return the embedded PostgreSQL's program, which reads older servers too."""
    return Binaries.find().reachable_by(Identity.choose()).folder / "pg_dump"


def dump(database: Database) -> list[str]:
    """Return what pg_dump says, without the order of rows."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    said = subprocess.run([pg_dump(), "--no-sync", url], check=True, capture_output=True, text=True)
    # Newer versions fence the script with a word that is new each time.
    lines = (line for line in said.stdout.splitlines() if "restrict" not in line)
    return sorted(line for line in lines if not line.startswith("--"))


def do(database: Database, steps: list[tuple[int, str]]) -> int:
    """Do a test's work; return how many statements the server took."""
    connections: Any = (database.connection, database.other)
    done = 0
    for number, sql in steps:
        try:
            database.admin.run(connections[number].execute, sql)
            done += 1
        except asyncpg.PostgresError as error:
            # A key, a lock of the other connection, an aborted transaction: as in production.
            event(type(error).__name__)
    for connection in connections:
        database.admin.run(connection.execute, "ROLLBACK")
    return done


@pytest.fixture
def databases(server: URL) -> Iterator[dict[str, Database]]:
    """Return a database of a superuser, who can undo everything, and one of a mere owner."""
    with (
        empty_database(server, "postgres") as superuser,
        empty_database(server, "owner") as owner,
    ):
        yield {"superuser": superuser, "owner": owner}


@pytest.mark.slow
@unhurried
@given(data=st.data())
def test_sweep_restores_any_schema(databases: dict[str, Database], data: st.DataObject) -> None:
    """Rows, positions of sequences and large objects are those of the beginning.

    What an owner cannot put back is noticed: the database would be replaced.
    """
    role = data.draw(st.sampled_from(["superuser", "superuser", "owner"]))
    database = databases[role]
    database.sweep.close()
    made, statements = data.draw(schemas())
    database.execute("DROP SCHEMA IF EXISTS public, other CASCADE", "CREATE SCHEMA public")
    database.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", *SHARED, *statements)
    before, script = database.content(), dump(database)
    database.sweep.begin()
    for _ in range(3):
        done = do(database, data.draw(work(made)))
        swept = database.run()
        event(f"{role}: {done > 0}, {swept.reason is None}")
        if role == "owner" and swept.reason is not None:
            return
        assert swept == (None, [])
        assert database.content() == before
    assert dump(database) == script
