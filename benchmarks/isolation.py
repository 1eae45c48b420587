"""What isolation costs a test: one suite, run with each way of isolating it, in interleaved rounds.

    uv run python benchmarks/isolation.py [--tests 300] [--tables 50] [--rounds 5]

Every variant runs the same tests (insert two rows with an enum, a domain and JSONB, commit, read
them back) on the same embedded server; only the fixture `db` differs. `nothing` is the floor: the
same session on a session-scoped engine, with nothing undone, and without db-testing's plugin. Those
on psycopg are synchronous, and have a floor of their own. A test takes from the
end of the one before to its own end, so start-up is left out; a run's figure is the first decile
over its tests, because whatever else the machine does can only make a test slower. Machines are
noisy all the same: trust the ratios and differences of one run, not its absolute times.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from db_testing import _server

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
pythonpath = .
addopts = -q -p no:randomly -p no:cacheprovider
"""

MODELS = """
import enum
import os
from sqlalchemy.dialects.postgresql import DOMAIN, JSONB
from sqlalchemy import Enum, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Status(enum.Enum):
    open = 1
    closed = 2

STATUS = Enum(Status, name="status", metadata=Base.metadata)
NAME = DOMAIN("name_of_something", Text(), check="VALUE <> ''", metadata=Base.metadata)

def table(number):
    return type(f"Table{number}", (Base,), {
        "__tablename__": f"table_{number}",
        "__annotations__": {
            "id": Mapped[int],
            "name": Mapped[str],
            "amount": Mapped[int],
            "status": Mapped[Status],
            "details": Mapped[dict],
        },
        "id": mapped_column(primary_key=True),
        "name": mapped_column(NAME, unique=True),
        "amount": mapped_column(index=True),
        "status": mapped_column(STATUS),
        "details": mapped_column(JSONB),
    })

TABLES = [table(number) for number in range(int(os.environ["BENCHMARK_TABLES"]))]
"""

TESTS = """
import os
import uuid
import pytest
from models import TABLES, Status
from sqlalchemy import select

@pytest.mark.parametrize("number", range(int(os.environ["BENCHMARK_TESTS"])))
async def test_writes_and_reads(db, number):
    table = TABLES[number % len(TABLES)]
    names = [uuid.uuid4().hex, uuid.uuid4().hex]
    db.add_all(
        table(name=name, amount=number, status=Status.open, details={"number": number})
        for name in names
    )
    await db.commit()
    found = (await db.execute(select(table).where(table.name.in_(names)))).scalars().all()
    assert [row.details for row in found] == 2 * [{"number": number}]
"""

CONFTEST = """
import itertools
import json
import os
import time
import uuid
import pytest
from models import Base
from db_testing import Schema
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_metadata(Base.metadata)

@pytest.fixture(scope="session")
async def engine():
    url = make_url(os.environ["BENCHMARK_SERVER"])
    server = create_async_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    name = f"benchmark_{uuid.uuid4().hex}"
    async with server.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_async_engine(url.set(database=name))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()
    async with server.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name}"))
    await server.dispose()

ends = []

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol():
    result = yield
    ends.append(time.perf_counter())
    return result

def pytest_sessionfinish(exitstatus):
    assert exitstatus == 0
    with open(os.environ["BENCHMARK_RESULT"], "w") as file:
        times = [b - a for a, b in itertools.pairwise(ends)]
        json.dump(times, file)
"""

OURS = "db-testing rollback"
COMMIT = "db-testing commit"
OURS_ON_PSYCOPG = "db-testing rollback, psycopg"
FLOOR = "nothing"
FLOOR_ON_PSYCOPG = "nothing, psycopg"

VARIANTS = {
    FLOOR: """
@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
""",
    OURS: "",
    COMMIT: "",
    "DELETE from every table": """
DELETES = [f"DELETE FROM {name}" for name in Base.metadata.tables]

@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
    async with engine.begin() as connection:
        await (await connection.get_raw_connection()).driver_connection.execute(";".join(DELETES))
""",
    "TRUNCATE of every table": """
TRUNCATE = "TRUNCATE " + ", ".join(Base.metadata.tables) + " RESTART IDENTITY CASCADE"

@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
    async with engine.begin() as connection:
        await connection.execute(text(TRUNCATE))
""",
    "clone of a template for each test": """
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
    "schema built for each test": """
@pytest.fixture
async def db(engine):
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    async with async_sessionmaker(engine)() as session:
        yield session
""",
    FLOOR_ON_PSYCOPG: """
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
    OURS_ON_PSYCOPG: "",
}
OPTIONS = {
    OURS: ["--db-isolation=rollback"],
    COMMIT: ["--db-isolation=commit"],
    OURS_ON_PSYCOPG: ["--db-isolation=rollback"],
}
"""Of the variants that use db-testing; the others run without its plugin."""
ON_PSYCOPG = (FLOOR_ON_PSYCOPG, OURS_ON_PSYCOPG)


def synchronous(name: str) -> str:
    """Return the tests for synchronous sessions."""
    tests = TESTS.replace("await ", "").replace("async ", "")
    return tests.replace("db", "db_sync") if name == OURS_ON_PSYCOPG else tests


def run(folder: Path, server: str, tests: int, tables: int, options: list[str]) -> list[float]:
    """Run a variant's suite; return the seconds of each test but the first."""
    result = folder / "result.json"
    environment = os.environ | {
        "BENCHMARK_TESTS": str(tests),
        "BENCHMARK_TABLES": str(tables),
        "BENCHMARK_RESULT": str(result),
        "BENCHMARK_SERVER": server,
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"a run failed:\n{done.stdout}\n{done.stderr}")
    times: list[float] = json.loads(result.read_text())
    return times


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=300, help="tests in the suite")
    parser.add_argument("--tables", type=int, default=50, help="tables in its schema")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each variant")
    options = parser.parse_args()

    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with contextlib.ExitStack() as steps:
        temporary = steps.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-"))
        server = _server.acquire("embedded")
        steps.callback(server.release)
        url = server.url.render_as_string(hide_password=False)
        folders = {}
        for number, (name, fixture) in enumerate(VARIANTS.items()):
            folder = folders[name] = Path(temporary) / f"variant{number}"
            folder.mkdir()
            (folder / "pytest.ini").write_text(INI)
            (folder / "models.py").write_text(MODELS)
            (folder / "conftest.py").write_text(CONFTEST + fixture)
            (folder / "test_suite.py").write_text(
                synchronous(name) if name in ON_PSYCOPG else TESTS
            )
        for _ in range(options.rounds):
            for name, folder in folders.items():
                # The slow ones say as much with fewer tests.
                fast = name in OPTIONS or name in (FLOOR, FLOOR_ON_PSYCOPG)
                number = options.tests if fast else 40
                arguments = OPTIONS.get(name, ["-p", "no:db_testing"])
                times = run(folder, url, number, options.tables, arguments)
                seconds[name].append(statistics.quantiles(times, n=10)[0])

    print(
        f"{options.tables} tables, {options.tests} tests, {options.rounds} interleaved rounds; "
        f"Python {platform.python_version()}, {os.cpu_count()} cores\n"
    )
    print("| isolation | ms per test, median of rounds (min to max) | over nothing, median |")
    print("|---|---|---|")
    for name, times in seconds.items():
        median, least, most = (f(times) * 1e3 for f in (statistics.median, min, max))
        floor = seconds[FLOOR_ON_PSYCOPG if name in ON_PSYCOPG else FLOOR]
        over = statistics.median(a - b for a, b in zip(times, floor, strict=True)) * 1e3
        print(f"| {name} | {median:.2f} ({least:.2f} to {most:.2f}) | {over:+.2f} |")


if __name__ == "__main__":
    main()
