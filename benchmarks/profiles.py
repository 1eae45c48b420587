"""Where a test's time goes: the same test in layers, each with one part more than the one before.

    moon run benchmarks:profile -- [--tests 300] [--rounds 3] [--tables 50]

A profiler would slow down what it counts. So there is a suite for each layer, and they run in turn
(`suites.py`): a test that does nothing, an asynchronous one, one with a fixture, one that sends the
statements with libpq alone, with asyncpg, with SQLAlchemy, and that with db-testing. The difference
of two is what the part between them takes. What the server takes is its processor time; the wire is
what libpq waits for beyond that. Ideas that should make a test faster are layers of the same kind.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import results
import server as servers
import suites
from isolation import decile
from peers import FLOOR, OURS
from suites import Suite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server import Server
    from suites import Block

NUMBERS: Final = """
import os
import uuid
import pytest

@pytest.mark.parametrize("number", range(int(os.environ["BENCHMARK_TESTS"])))
"""
STATEMENTS: Final = '''
INSERT = """INSERT INTO table_{0} (name, amount, status, details)
SELECT * FROM unnest($1::text[], $2::int[], $3::status[], $4::jsonb[]) RETURNING id"""
SELECT = """SELECT id, name, amount, status, details FROM table_{0} WHERE name = ANY($1::text[])"""
TABLES = int(os.environ["BENCHMARK_TABLES"])
'''
LIBPQ: Final = Suite(
    "libpq",
    """
from psycopg import pq

@pytest.fixture(scope="session")
def libpq(engine):
    url = engine.url
    where = f"host={url.query['host']} user={url.username} dbname={url.database}"
    connection = pq.PGconn.connect(where.encode())
    assert connection.status == pq.ConnStatus.OK, connection.error_message
    yield connection
    connection.finish()
""",
    NUMBERS.replace("import pytest", "import pytest\nfrom psycopg import pq\n" + STATEMENTS)
    + """
def test_writes_and_reads(libpq, number, prepared=set()):
    names = [uuid.uuid4().hex, uuid.uuid4().hex]
    table = number % TABLES
    if table not in prepared:
        prepared.add(table)
        libpq.prepare(b"insert%d" % table, INSERT.format(table).encode())
        libpq.prepare(b"select%d" % table, SELECT.format(table).encode())
    array = "{" + ",".join(names) + "}"
    found = [
        libpq.exec_(b"BEGIN"),
        libpq.exec_prepared(
            b"insert%d" % table,
            [array.encode(), b"{1,1}", b"{open,open}", b'{"{}","{}"}'],
        ),
        libpq.exec_(b"COMMIT"),
        libpq.exec_(b"BEGIN"),
        libpq.exec_prepared(b"select%d" % table, [array.encode()]),
        libpq.exec_(b"ROLLBACK"),
    ]
    assert [each.error_message for each in found] == 6 * [b""]
    assert found[4].ntuples == 2
""",
)
ON_ASYNCPG: Final = """
@pytest.fixture(scope="session")
async def connection(engine):
    import asyncpg
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url, **OPTIONS)
    yield connection
    await connection.close()

@pytest.fixture
async def db(connection):
    yield connection
"""
ASYNCPG_TESTS: Final = (
    NUMBERS.replace("import pytest", "import pytest\n" + STATEMENTS)
    + """
async def test_writes_and_reads(db, number):
    names = [uuid.uuid4().hex, uuid.uuid4().hex]
    table = number % TABLES
    transaction = db.transaction()
    await transaction.start()
    await db.fetch(
        INSERT.format(table), names, [1, 1], ["open", "open"], ["{}", "{}"]
    )
    await transaction.commit()
    transaction = db.transaction()
    await transaction.start()
    assert len(await db.fetch(SELECT.format(table), names)) == 2
    await transaction.rollback()
"""
)
PYTEST: Final = Suite("pytest", tests=NUMBERS + "def test_nothing(number):\n    pass\n")
ASYNCIO: Final = Suite("pytest-asyncio", tests=NUMBERS + "async def test(number):\n    pass\n")
FIXTURE: Final = Suite(
    "fixture",
    "\n@pytest.fixture\nasync def db():\n    yield\n",
    NUMBERS + "async def test_nothing(db, number):\n    pass\n",
)
ASYNCPG: Final = Suite("asyncpg", "\nOPTIONS = {}\n" + ON_ASYNCPG, ASYNCPG_TESTS)
UNPREPARED: Final = Suite(
    "asyncpg, prepares each time",
    "\nOPTIONS = {'statement_cache_size': 0}\n" + ON_ASYNCPG,
    ASYNCPG_TESTS,
)
ROLLBACK, COMMIT = OURS
WITH_US: Final = ("-p", "db_testing")
BYSTANDER: Final = Suite("db-testing, no database", tests=PYTEST.tests, options=WITH_US)
UVLOOP: Final = """
import uvloop

@pytest.fixture(scope="session")
def event_loop_policy():
    return uvloop.EventLoopPolicy()
"""
QUIETLY: Final = ("-W", "ignore::DeprecationWarning")
FLOOR_ON_UVLOOP: Final = Suite("nothing, uvloop", FLOOR.conftest + UVLOOP, options=QUIETLY)
ROLLBACK_ON_UVLOOP: Final = Suite(
    "db-testing rollback, uvloop", UVLOOP, options=[*ROLLBACK.options, *QUIETLY]
)
LAYERS: Final = (
    *(PYTEST, BYSTANDER, ASYNCIO, FIXTURE, LIBPQ, ASYNCPG, UNPREPARED),
    *(FLOOR, ROLLBACK, COMMIT, FLOOR_ON_UVLOOP, ROLLBACK_ON_UVLOOP),
)


def layers(server: Server, *, tests: int, tables: int, number: int) -> tuple[dict[str, Any], float]:
    """Return, of each layer, the first decile and the server's time in ms; and the yardstick."""
    times: dict[str, list[float]] = {}
    spent: dict[str, list[float]] = {}
    yardstick: list[float] = []
    for _ in range(number):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
            found, beside = suites.in_turn(
                LAYERS, Path(temporary), server, tests=tests, tables=tables
            )
        yardstick += beside
        for name, measured in found.items():
            if measured.failure:
                sys.exit(f"{name} fails: {measured.failure}")
            times.setdefault(name, []).append(decile(measured.blocks))
            spent.setdefault(name, []).append(server_time(measured.blocks))
    medians = {
        name: {"ms": statistics.median(each), "server_ms": statistics.median(spent[name])}
        for name, each in times.items()
    }
    return medians, statistics.median(yardstick) * 1e3


def server_time(blocks: Sequence[Block]) -> float:
    """Return the server's processor time per test, in ms."""
    return statistics.median(block.server_cpu for block in blocks) * 1e3


def parts(found: Mapping[str, Mapping[str, float]], yardstick: float) -> list[dict[str, Any]]:
    """Return what the parts of a test take, in ms."""

    def ms(suite: Suite) -> float:
        return found[suite.name]["ms"]

    server = found[LIBPQ.name]["server_ms"]
    exchange = ms(LIBPQ) - ms(PYTEST)
    taken = {
        "pytest, a test that does nothing": ms(PYTEST),
        "pytest-asyncio": ms(ASYNCIO) - ms(PYTEST),
        "an asynchronous fixture": ms(FIXTURE) - ms(ASYNCIO),
        "the server, for the test's six statements": server,
        "libpq, the wire and waking up": exchange - server,
        "asyncpg and the event loop, beyond that": ms(ASYNCPG) - ms(FIXTURE) - exchange,
        "SQLAlchemy": ms(FLOOR) - ms(ASYNCPG),
        "all of that: the floor": ms(FLOOR),
        "db-testing, rollback": ms(ROLLBACK) - ms(FLOOR),
        "of that, on the server": found[ROLLBACK.name]["server_ms"]
        - found[FLOOR.name]["server_ms"],
        "of that, hooks that run for every test": ms(BYSTANDER) - ms(PYTEST),
        "of that, at most, to be saved by sending the reset with the next test's first statement": (
            yardstick / 2
        ),
        "db-testing, commit": ms(COMMIT) - ms(FLOOR),
        "preparing each statement again": ms(UNPREPARED) - ms(ASYNCPG),
        "uvloop instead of asyncio, nothing isolated": ms(FLOOR_ON_UVLOOP) - ms(FLOOR),
        "uvloop instead of asyncio, db-testing rollback": ms(ROLLBACK_ON_UVLOOP) - ms(ROLLBACK),
    }
    return [{"part": name, "ms": round(value, 3)} for name, value in taken.items()]


def collection(tests: int, rounds: int) -> list[dict[str, Any]]:
    """Return what it takes to collect tests, without the plugin and with it, in ms."""
    taken: dict[str, list[float]] = {"without db-testing": [], "with db-testing": []}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        folder = Path(temporary)
        (folder / "pytest.ini").write_text(
            "[pytest]\nasyncio_mode = auto\naddopts = -p asyncio\n"
            "asyncio_default_fixture_loop_scope = function\n"
        )
        text = "import pytest\n\n@pytest.mark.parametrize('number', range({}))\n"
        text = text.format(tests) + "async def test(number):\n    pass\n"
        (folder / "test_many.py").write_text(text)
        for _ in range(rounds):
            for name, options in zip(taken, ([], WITH_US), strict=True):
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "pytest", "--collect-only", "-qq", *options],
                    cwd=folder,
                    env=suites.environment(),
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                taken[name].append(time.perf_counter() - began)
    return [
        {
            "part": f"start and collection of {tests:,} tests, {name}",
            "ms": round(statistics.median(times) * 1e3, 1),
        }
        for name, times in taken.items()
    ]


def everything(result: results.Result) -> str:
    """Render all that was found."""
    lines = ["| part | ms |", "|---|---:|"]
    lines += [f"| {row['part']} | {row['ms']:.3f} |" for row in result.rows]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=300, help="tests in each suite")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each layer")
    parser.add_argument("--tables", type=int, default=50, help="tables in the schema")
    options = parser.parse_args()
    with servers.own() as server:
        found, yardstick = layers(
            server, tests=options.tests, tables=options.tables, number=options.rounds
        )
    rows = [
        *parts(found, yardstick),
        {"part": "yardstick: BEGIN and ROLLBACK on an open connection", "ms": round(yardstick, 4)},
        *collection(10_000, options.rounds),
    ]
    result = results.made("profile", rows, key=["part"])
    print(everything(result))
    print(f"\nwritten to {result.write()}")


if __name__ == "__main__":
    main()
