"""How long a whole suite takes: 838 tests over 50 tables, each way of isolating them, in turn.

    moon run benchmarks:headline -- [--rounds 3] [--workers 2] [--mixes uniform]
                                    [--modes loadfile] [--only TEXT ...]

The suite is generated, from a fixed seed: services that commit, requests over HTTP, constraints
that fail, and tests without a database (`headline/actions.py` says what each does). In the mix
`uniform` tests are alike; in the mix `heterogeneous` some tests do up to forty times as much as
others, and stand together in a few files, as slow tests do. Every variant runs the same files; they
differ in `variant.py`, the fixtures. Each run is a process of its own, from start to exit, and the
rounds go through all variants in turn. The suite that rebuilds the schema for each test runs once,
since it takes minutes. Prints medians, and puts them into `results/headline.json`, instead of those
rows that were measured again.
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
import server as servers
import suites

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TESTS: Final = 838
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
addopts = -q -p no:cacheprovider -p asyncio
"""

OURS: Final = """
import place  # the benchmark's server, in workers too
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
    options: tuple[str, ...] = ()
    once: bool = False
    """Whether one run must do."""


@dataclass(frozen=True)
class Mode:
    """One way of running them."""

    name: str
    options: tuple[str, ...]


WITH_US: Final = ("-p", "db_testing")
VARIANTS: Final = (
    Variant("no isolation", THEIRS + ONE_SCHEMA + NOTHING),
    Variant("db-testing, rollback", OURS, (*WITH_US, "--db-isolation=rollback")),
    Variant("db-testing, commit", OURS, (*WITH_US, "--db-isolation=commit")),
    Variant("db-testing, auto", OURS, (*WITH_US, "--db-isolation=auto")),
    Variant("TRUNCATE for each test", THEIRS + ONE_SCHEMA + TRUNCATE_PER_TEST, once=True),
    Variant("schema for each test", THEIRS + SCHEMA_PER_TEST, once=True),
)
MIXES: Final = ("uniform", "heterogeneous")


MODES: Final = ("sequential", "loadfile", "worksteal")


def variants_named(texts: Iterable[str]) -> list[Variant]:
    """Return those whose name contains one of some texts."""
    return [each for each in VARIANTS if any(text in each.name for text in texts)]


def modes(workers: int) -> Sequence[Mode]:
    """Return how the suite is run."""
    return (
        Mode("sequential", ()),
        Mode("loadfile", ("-p", "xdist", "-n", str(workers), "--dist", "loadfile")),
        Mode("worksteal", ("-p", "xdist", "-n", str(workers), "--dist", "worksteal")),
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
        env=suites.environment(BENCHMARK_SERVER=server),
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


def measure(
    variants: Sequence[Variant],
    mixes: Sequence[str],
    chosen: Sequence[Mode],
    server: str,
    *,
    tests: int,
    rounds: int,
    workers: int,
) -> list[dict[str, Any]]:
    """Run everything; return a row for each mix, variant and mode."""
    taken: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for number in range(rounds):
        for mix in mixes:
            with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
                folder = Path(temporary)
                generate(folder, tests, mix)
                for variant in variants:
                    for mode in chosen:
                        if variant.once and number > 0:
                            continue
                        found = run(folder, variant, mode, server)
                        taken.setdefault((mix, variant.name, mode.name), []).append(found)
                        print(f"{mix}, {variant.name}, {mode.name}: {found[0]:.1f} s", flush=True)
    return [
        {
            "mix": mix,
            "variant": variant,
            "mode": mode,
            "tests": tests,
            "workers": 1 if mode == "sequential" else workers,
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
    ways = [(mix, mode.name) for mix in MIXES for mode in modes(0)]
    lines = [
        "| isolation | " + " | ".join(f"{mix}, {mode}" for mix, mode in ways) + " |",
        "|---|" + "---:|" * len(ways),
    ]
    for variant in VARIANTS:
        values = [cells.get((mix, variant.name, mode)) for mix, mode in ways]
        if any(values):
            shown = ("" if value is None else f"{value:.1f} s" for value in values)
            lines.append(f"| {variant.name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def place(row: Mapping[str, Any]) -> tuple[int, ...]:
    """Return where a row stands among others, whenever it was measured."""
    names = [variant.name for variant in VARIANTS]
    mode = MODES.index(row["mode"]) if "mode" in row else 0
    return MIXES.index(row["mix"]), names.index(row["variant"]), mode


def everything(result: results.Result) -> str:
    """Render all that was found."""
    lines = [
        "| mix | isolation | mode | workers | s | least | most | processor s | rounds |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['mix']} | {row['variant']} | {row['mode']} | {row['workers']} "
        f"| {row['seconds']:.1f} | {row['least']:.1f} | {row['most']:.1f} "
        f"| {row['processor_seconds']:.1f} | {row['rounds']} |"
        for row in sorted(result.rows, key=place)
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=TESTS, help="tests in the suite")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of pytest-xdist")
    parser.add_argument("--mixes", nargs="+", default=MIXES, choices=MIXES, help="of tests")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="variants whose name contains one"
    )
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES, help="of running them")
    options = parser.parse_args()
    with servers.own() as server:
        rows = measure(
            variants_named(options.only),
            options.mixes,
            [mode for mode in modes(options.workers) if mode.name in options.modes],
            server.url,
            tests=options.tests,
            rounds=options.rounds,
            workers=options.workers,
        )
    result = results.made("headline", rows, key=("mix", "variant", "mode"))
    print(f"\n{result.where}\n\n{table(result)}")
    print(f"\nwritten to {result.write()}")


if __name__ == "__main__":
    main()
