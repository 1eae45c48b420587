"""What isolation costs a test: one suite, run with each way of isolating it, in turn.

    moon run benchmarks:isolation -- [--tests 200] [--rounds 3] [--tables 20 50]

Every variant runs the same tests (insert two rows with an enum, a domain and JSONB, commit, read
them back) on the same embedded server; only the fixture `db` differs. `nothing` is the floor: the
same session on a session-scoped engine, with nothing undone, without db-testing's plugin. DELETE
leaves sequences where they are, and would delete rows of the template's; TRUNCATE would too. The
recipe serves one connection only. Those on psycopg are synchronous, and have a floor of their own.
A test takes from the end of the one before to its own end. The variants run in turn, see
`suites.py`. Whatever else a machine does can only make a test slower: the first decile of a
variant's tests, less that of the floor's, is what its isolation costs by itself. Some processes are
slower than others of the same program for all their life, so there are rounds: printed is the
median of these. Beside it stands what isolation cost on this machine as it was: the median of the
differences between tests that followed each other. How long it takes to the end of the first test
is measured apart, with nothing kept from earlier runs (cold), and again (warm). Unless only some
variants are asked for, what was found is written to `results/isolation.json`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import results
import suites
from suites import Suite

from db_testing import _server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SYNCHRONOUS = suites.TESTS.replace("await ", "").replace("async ", "")
OURS_SYNCHRONOUS = SYNCHRONOUS.replace("db", "db_sync")

FLOOR = Suite(
    "nothing",
    """
@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
""",
)
FLOOR_ON_PSYCOPG = Suite(
    "nothing, psycopg",
    """
@pytest.fixture(scope="session")
def sync_engine(engine):
    sync_engine = create_engine(engine.url.set(drivername="postgresql+psycopg"))
    yield sync_engine
    sync_engine.dispose()

@pytest.fixture
def db(sync_engine):
    with sessionmaker(sync_engine)() as session:
        yield session
""",
    tests=SYNCHRONOUS,
)
OURS = [
    Suite("db-testing rollback", options=["--db-isolation=rollback"]),
    Suite("db-testing commit", options=["--db-isolation=commit"]),
]
OURS_ON_PSYCOPG = [
    Suite("db-testing rollback, psycopg", "", OURS_SYNCHRONOUS, ["--db-isolation=rollback"]),
    Suite("db-testing commit, psycopg", "", OURS_SYNCHRONOUS, ["--db-isolation=commit"]),
]
PEERS = [
    Suite(
        "rollback by SQLAlchemy's recipe",
        remark="for one connection",
        conftest="""
@pytest.fixture
async def db(engine):
    async with engine.connect() as connection:
        transaction = await connection.begin()
        mode = {"join_transaction_mode": "create_savepoint"}
        async with async_sessionmaker(connection, **mode)() as session:
            yield session
        await transaction.rollback()
""",
    ),
    Suite(
        "DELETE from every table",
        """
@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
    async with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            await connection.execute(table.delete())
""",
    ),
    Suite(
        "DELETE from every table in one script",
        remark="leaves sequences, deletes seeded rows",
        conftest="""
DELETES = [f"DELETE FROM {table}" for table in reversed(Base.metadata.sorted_tables)]

@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
    async with engine.begin() as connection:
        await (await connection.get_raw_connection()).driver_connection.execute(";".join(DELETES))
""",
    ),
    Suite(
        "TRUNCATE of every table",
        """
TRUNCATE = "TRUNCATE " + ", ".join(Base.metadata.tables) + " RESTART IDENTITY CASCADE"

@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
    async with engine.begin() as connection:
        await connection.execute(text(TRUNCATE))
""",
    ),
    Suite(
        "clone of a template for each test",
        """
@pytest.fixture(scope="session")
async def template(engine):
    name = engine.url.database
    await engine.dispose()
    server = create_async_engine(engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        yield name, connection
    await server.dispose()

@pytest.fixture
async def db(template):
    name, server = template
    await server.execute(text(f"CREATE DATABASE {name}_clone TEMPLATE {name} STRATEGY FILE_COPY"))
    engine = create_async_engine(server.engine.url.set(database=f"{name}_clone"))
    async with async_sessionmaker(engine)() as session:
        yield session
    await engine.dispose()
    await server.execute(text(f"DROP DATABASE {name}_clone"))
""",
    ),
    Suite(
        "schema built for each test",
        """
@pytest.fixture
async def db(engine):
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    async with async_sessionmaker(engine)() as session:
        yield session
""",
    ),
]
PEERS_ON_PSYCOPG = [
    Suite(
        "pytest-postgresql",
        """
from pytest_postgresql.factories import postgresql, postgresql_noproc
from sqlalchemy import StaticPool

url = make_url(os.environ["BENCHMARK_SERVER"])

def load(**where):
    engine = create_engine("postgresql+psycopg://", connect_args=where)
    Base.metadata.create_all(engine)
    engine.dispose()

server = postgresql_noproc(
    host=url.query["host"],
    port=url.query.get("port", 5432),
    user=url.username,
    dbname=f"benchmark_{uuid.uuid4().hex}",
    load=[load],
)
postgresql = postgresql("server")

@pytest.fixture
def db(postgresql):
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: postgresql, poolclass=StaticPool
    )
    with sessionmaker(engine)() as session:
        yield session
""",
        tests=SYNCHRONOUS,
        options=["-p", "no:db_testing"],
    ),
]
FLOORS = dict.fromkeys([FLOOR, *OURS, *PEERS], FLOOR) | dict.fromkeys(
    [FLOOR_ON_PSYCOPG, *OURS_ON_PSYCOPG, *PEERS_ON_PSYCOPG], FLOOR_ON_PSYCOPG
)


def first_test(suite: Suite, server: str, tables: int, schema: str = "known") -> float:
    """Return the seconds from the start of its process to the end of its first test."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        folder = Path(temporary) / "suite"
        suite.write(folder)
        began = time.perf_counter()
        with suites.start(suite, folder, server, tests=1, tables=tables, schema=schema) as run:
            run.block()
            taken = time.perf_counter() - began
            if not run.end():
                sys.exit(1)
    return taken


def decile(blocks: Sequence[suites.Block]) -> float:
    """Return the first decile of the tests, in ms."""
    times = [time for block in blocks for time in block.times]
    return statistics.quantiles(times, n=10)[0] * 1e3


def measure(
    server: str, variants: Sequence[Suite], *, tests: int, tables: int, number: int
) -> Iterator[dict[str, Any]]:
    """Measure with one number of tables, and return a row for each variant."""
    rounds = []
    for _ in range(number):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
            rounds.append(
                suites.in_turn(variants, Path(temporary), server, tests=tests, tables=tables)
            )
    for suite in variants:
        row: dict[str, Any] = {"tables": tables, "isolation": suite.name}
        if not all(measured[suite.name] for measured in rounds):
            yield row | {"fails": True}
            continue
        floor = FLOORS[suite].name
        each = [decile(measured[suite.name]) for measured in rounds]
        least = [decile(measured[floor]) for measured in rounds]
        more, cpu = [], []
        for measured in rounds:
            for a, b in zip(measured[suite.name], measured[floor], strict=False):
                more.append((statistics.median(a.times) - statistics.median(b.times)) * 1e3)
                cpu.append((a.cpu - b.cpu) * 1e3)
        yield row | {
            "ms": round(statistics.median(each), 3),
            "over_floor_ms": round(
                statistics.median(a - b for a, b in zip(each, least, strict=True)), 3
            ),
            "side_by_side_ms": [round(quartile, 3) for quartile in statistics.quantiles(more, n=4)],
            "processor_ms": round(statistics.median(cpu), 3),
            "cold_s": round(first_test(suite, server, tables, uuid.uuid4().hex), 2),
            "warm_s": round(first_test(suite, server, tables), 2),
        }


HEAD = """
| isolation | ms per test | over nothing | side by side, median (quartiles) | processor time \
| s to the end of the first test, cold | warm |
|---|---|---|---|---|---|---|"""


def line(row: dict[str, Any]) -> str:
    """Render all of a row."""
    if row.get("fails"):
        return f"| {row['isolation']} | fails | | | | | |"
    low, middle, high = row["side_by_side_ms"]
    return (
        f"| {row['isolation']} | {row['ms']:.2f} | {row['over_floor_ms']:+.2f} | {middle:+.2f} "
        f"({low:+.2f} to {high:+.2f}) | {row['processor_ms']:+.2f} | {row['cold_s']:.1f} | "
        f"{row['warm_s']:.1f} |"
    )


def table(result: results.Result) -> str:
    """Render what isolation adds to a test, over numbers of tables."""
    found = {(row["isolation"], row["tables"]): row for row in result.rows}
    sizes = list(dict.fromkeys(row["tables"] for row in result.rows))
    lines = [
        "| isolation | " + " | ".join(f"{size:,} tables" for size in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    for suite in FLOORS:
        rows = [found.get((suite.name, size)) for size in sizes]
        if any(rows):
            cells = (cell(row, floor=FLOORS[suite] is suite) for row in rows)
            name = f"{suite.name}; {suite.remark}" if suite.remark else suite.name
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(row: Mapping[str, Any] | None, *, floor: bool) -> str:
    """Render what a test took, or what its isolation added."""
    if row is None or row.get("fails"):
        return "" if row is None else "fails"
    if floor:
        return f"{row['ms']:.2f} ms"
    more = row["over_floor_ms"]
    digits = max(0, 2 - max(0, math.floor(math.log10(abs(more) or 1))))  # three in all
    return f"{more:+.{digits}f}"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=200, help="tests in the suite")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--tables", type=int, nargs="+", default=[50], help="tables in its schema")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="variants whose name contains it, and the floor"
    )
    options = parser.parse_args()
    variants = [suite for suite in FLOORS if options.only in suite.name]
    variants = list(dict.fromkeys([FLOORS[suite] for suite in variants] + variants))

    server = _server.acquire("embedded")
    rows = []
    try:
        url = server.url.render_as_string(hide_password=False)
        for tables in options.tables:
            print(f"\n{tables} tables, {options.tests} tests, {options.rounds} rounds\n{HEAD}")
            for row in measure(
                url, variants, tests=options.tests, tables=tables, number=options.rounds
            ):
                print(line(row), flush=True)
                rows.append(row)
    finally:
        server.release()
    if not options.only:
        command = f"moon run benchmarks:isolation -- {' '.join(sys.argv[1:])}".removesuffix(" -- ")
        print(f"\nwritten to {results.made('isolation', command, rows).write()}")


if __name__ == "__main__":
    main()
