"""How long a whole suite takes: 838 tests over 50 tables, each way of isolating them, in turn.

    moon run benchmarks:headline -- [--tests 838] [--rounds 3] [--workers 2]

The suite is generated, from a fixed seed: services that commit, requests over HTTP, constraints
that fail, and tests without a database (`headline/actions.py` says what each does). In the mix
`uniform` tests are alike; in the mix `heterogeneous` some tests do up to forty times as much as
others, and stand together in a few files, as slow tests do. Every variant runs the same files; they
differ in `variant.py`, the fixtures. Each run is a process of its own, from start to exit, and the
rounds go through all variants in turn. The suite that rebuilds the schema for each test runs once,
since it takes minutes. Prints medians, and writes `results/headline.json`.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import results

from db_testing import _server

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED: Final = 838
FILES: Final = 42
SLOW_FILES: Final = 4
SHOPS: Final = 10
PARTS: Final = Path(__file__).parent / "headline"
TIMEOUT: Final = 1800.0
"""Seconds that a run may take."""

KINDS: Final = {
    # What is called, with which fixture, and how often of a hundred times.
    "serves_an_order": ("db", 25),
    "refuses_a_payment": ("db", 15),
    "meets_a_constraint": ("db", 15),
    "answers_requests": ("client", 20),
    "answers_a_conflict": ("client", 10),
    "computes": (None, 15),
}

INI: Final = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
pythonpath = .
addopts = -q -p no:randomly -p no:cacheprovider -p no:pytest_alembic -p no:pytest_postgresql
    -p no:hypothesispytest
"""

OURS: Final = """
import pytest
from db_testing import Schema

@pytest.fixture(scope="session")
def db_schema():
    from models import metadata
    return Schema.from_metadata(metadata)

@pytest.fixture(scope="session")
def db_session_options():
    return {"expire_on_commit": False}

@pytest.fixture
def application_sessions(db_sessionmaker):
    return db_sessionmaker
"""

THEIRS: Final = """
import asyncio
import os
import uuid
import pytest
from models import metadata
from sqlalchemy import NullPool, make_url, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

def on_server(statement):
    async def execute():
        url = make_url(os.environ["BENCHMARK_SERVER"]).set(database="postgres")
        engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(text(statement))
        await engine.dispose()
    asyncio.run(execute())

@pytest.fixture(scope="session")
def url():
    name = f"benchmark_{uuid.uuid4().hex}"
    on_server(f"CREATE DATABASE {name}")
    yield make_url(os.environ["BENCHMARK_SERVER"]).set(database=name)
    on_server(f"DROP DATABASE {name} WITH (FORCE)")

@pytest.fixture
def application_sessions(engine):
    return async_sessionmaker(engine, expire_on_commit=False)

@pytest.fixture
async def db(application_sessions):
    async with application_sessions() as session:
        yield session
"""

SCHEMA_PER_TEST: Final = """
@pytest.fixture
async def engine(url):
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
    yield engine
    await engine.dispose()
"""

ONE_SCHEMA: Final = """
@pytest.fixture(scope="session")
async def built(url):
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield engine
    await engine.dispose()
"""

TRUNCATE_PER_TEST: Final = """
TRUNCATE = text("TRUNCATE " + ", ".join(metadata.tables) + " RESTART IDENTITY CASCADE")

@pytest.fixture
async def engine(built):
    async with built.begin() as connection:
        await connection.execute(TRUNCATE)
    return built
"""

NOTHING: Final = """
@pytest.fixture
def engine(built):
    return built
"""


@dataclass(frozen=True)
class Variant:
    """One way of isolating the tests."""

    name: str
    fixtures: str
    options: tuple[str, ...] = ("-p", "no:db_testing")
    once: bool = False
    """Whether one run must do."""


@dataclass(frozen=True)
class Mode:
    """One way of running them."""

    name: str
    options: tuple[str, ...]


VARIANTS: Final = (
    Variant("no isolation", THEIRS + ONE_SCHEMA + NOTHING),
    Variant("db-testing, rollback", OURS, ("--db-isolation=rollback",)),
    Variant("db-testing, commit", OURS, ("--db-isolation=commit",)),
    Variant("db-testing, auto", OURS, ("--db-isolation=auto",)),
    Variant("TRUNCATE for each test", THEIRS + ONE_SCHEMA + TRUNCATE_PER_TEST, once=True),
    Variant("schema for each test", THEIRS + SCHEMA_PER_TEST, once=True),
)
MIXES: Final = ("uniform", "heterogeneous")


def modes(workers: int) -> Sequence[Mode]:
    """Return how the suite is run."""
    return (
        Mode("sequential", ("-p", "no:xdist")),
        Mode("loadfile", ("-n", str(workers), "--dist", "loadfile")),
        Mode("worksteal", ("-n", str(workers), "--dist", "worksteal")),
    )


def generate(folder: Path, tests: int, mix: str) -> None:
    """Write the suite's files, but for the variant's fixtures."""
    for part in PARTS.glob("*.py"):
        shutil.copy(part, folder)
    (folder / "pytest.ini").write_text(INI)
    chance = random.Random(SEED)  # noqa: S311  # it shall be the same each time
    slow = set(chance.sample(range(FILES), SLOW_FILES)) if mix == "heterogeneous" else set()
    for number in range(FILES):
        lines = ["import actions"]
        for test in range(tests * number // FILES, tests * (number + 1) // FILES):
            kinds, shares = list(KINDS), [share for _, share in KINDS.values()]
            kind = chance.choices(kinds, shares)[0]
            shop, heavy = chance.randrange(SHOPS), chance.random() < 1 / 2
            weight = chance.randrange(8, 41) if number in slow and heavy else 1
            fixture = KINDS[kind][0]
            if fixture is None:
                lines.append(f"\ndef test_{test}():\n    actions.{kind}({weight})")
            else:
                lines.append(
                    f"\nasync def test_{test}({fixture}):\n"
                    f"    await actions.{kind}({fixture}, {shop}, {weight})"
                )
        (folder / f"test_area{number:02}.py").write_text("\n".join(lines) + "\n")


def run(folder: Path, variant: Variant, mode: Mode, server: str) -> tuple[float, float]:
    """Run the suite; return its seconds, and those of its processes on a processor."""
    (folder / "variant.py").write_text(variant.fixtures)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *variant.options, *mode.options],
        cwd=folder,
        env=os.environ | {"BENCHMARK_SERVER": server},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    taken = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode != 0:
        sys.exit(f"{variant.name}, {mode.name} failed:\n{ran.stdout}{ran.stderr}")
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(tests: int, rounds: int, workers: int, server: str) -> list[dict[str, Any]]:
    """Run everything; return a row for each mix, variant and mode."""
    taken: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for number in range(rounds):
        for mix in MIXES:
            with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
                folder = Path(temporary)
                generate(folder, tests, mix)
                for variant in VARIANTS:
                    for mode in modes(workers):
                        if variant.once and (number > 0 or mode.name == "loadfile"):
                            continue
                        found = run(folder, variant, mode, server)
                        taken.setdefault((mix, variant.name, mode.name), []).append(found)
                        print(f"{mix}, {variant.name}, {mode.name}: {found[0]:.1f} s", flush=True)
    return [
        {
            "mix": mix,
            "variant": variant,
            "mode": mode,
            "seconds": round(statistics.median(seconds for seconds, _ in times), 2),
            "least": round(min(seconds for seconds, _ in times), 2),
            "most": round(max(seconds for seconds, _ in times), 2),
            "processor_seconds": round(statistics.median(each for _, each in times), 2),
            "rounds": len(times),
        }
        for (mix, variant, mode), times in taken.items()
    ]


def table(result: results.Result) -> str:
    """Render a result as a table."""
    cells = {(row["mix"], row["variant"], row["mode"]): row["seconds"] for row in result.rows}
    names = list(dict.fromkeys(row["variant"] for row in result.rows))
    ways = list(dict.fromkeys((row["mix"], row["mode"]) for row in result.rows))
    lines = [
        "| isolation | " + " | ".join(f"{mix}, {mode}" for mix, mode in ways) + " |",
        "|---|" + "---:|" * len(ways),
    ]
    for name in names:
        values = (cells.get((mix, name, mode)) for mix, mode in ways)
        shown = ("" if value is None else f"{value:.1f} s" for value in values)
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=838, help="tests in the suite")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of pytest-xdist")
    options = parser.parse_args()
    server = _server.acquire("embedded")
    try:
        url = server.url.render_as_string(hide_password=False)
        rows = measure(options.tests, options.rounds, options.workers, url)
    finally:
        server.release()
    command = f"moon run benchmarks:headline -- {' '.join(sys.argv[1:])}".removesuffix(" -- ")
    result = results.made("headline", command, rows)
    print(f"\n{result.where}\n\n{table(result)}")
    print(f"\nwritten to {result.write()}")


if __name__ == "__main__":
    main()
