"""How what isolation costs grows: with tables, tests, rows, workers and applications; and memory.

    moon run benchmarks:scale -- tables tests rows workers applications memory [--rounds 1]

Each is measured by itself, and replaces what `results/scale.json` says of it. `tables`, `tests` and
`rows` run the suites of `suites.py` in turn, as `isolation` does. `tests` goes up to ten thousand;
`tests-100000` is ten times that, and takes hours on a busy machine. `workers` and `applications`
run whole suites, from start to exit. `memory` is what processes have to themselves, and their share
of what they have in common (PSS), while a suite waits between two tests.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import headline
import isolation
import processes
import results
import server as servers
import suites
from peers import FLOOR, OURS, PEERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from server import Server
    from suites import Suite


TRUNCATE: Final = next(suite for suite in PEERS if suite.name.startswith("TRUNCATE"))
APPLICATION_TESTS: Final = 400
"""Of all applications together."""


def compared(
    over: str,
    values: Sequence[int],
    variants: Sequence[Suite],
    run: Callable[[Sequence[Suite], Path, int], tuple[dict[str, suites.Measured], list[float]]],
    rounds: int,
) -> Iterator[dict[str, Any]]:
    """Run variants in turn for each value; yield a row for each."""
    for value in values:
        found, yardstick = [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
                measured, times = run(variants, Path(temporary), value)
            found.append(measured)
            yardstick += times
        for suite in variants:
            row: dict[str, Any] = {"over": over, "value": value, "isolation": suite.name}
            failures = [each[suite.name].failure for each in found]
            if any(failures):
                yield row | {"fails": next(filter(None, failures))}
                continue
            blocks = [each[suite.name].blocks for each in found]
            floors = [each[FLOOR.name].blocks for each in found]
            yield (
                row
                | isolation.figures(blocks, floors)
                | {"yardstick_ms": round(statistics.median(yardstick) * 1e3, 4), "rounds": rounds}
            )


def tables(server: Server, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure over the number of tables in the schema."""

    def run(variants: Sequence[Suite], folder: Path, value: int) -> Any:  # noqa: ANN401
        return suites.in_turn(variants, folder, server, tests=150, tables=value, budget=3)

    return compared("tables", [20, 50, 200, 1000], [FLOOR, *OURS, TRUNCATE], run, rounds)


def number_of_tests(
    server: Server, rounds: int, numbers: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Measure over the number of tests in the suite."""

    def run(variants: Sequence[Suite], folder: Path, value: int) -> Any:  # noqa: ANN401
        return suites.in_turn(variants, folder, server, tests=value, tables=50, budget=math.inf)

    return compared("tests", numbers, [FLOOR, *OURS], run, rounds)


def many_tests(server: Server, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure suites of up to ten thousand."""
    return number_of_tests(server, rounds, [100, 1000, 10_000])


def very_many_tests(server: Server, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure a suite of a hundred thousand."""
    return number_of_tests(server, rounds, [100_000])


def rows(server: Server, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure over the number of rows that a test writes."""

    def run(variants: Sequence[Suite], folder: Path, value: int) -> Any:  # noqa: ANN401
        return suites.in_turn(variants, folder, server, tests=150, tables=50, rows=value, budget=5)

    return compared("rows", [2, 20, 200, 2000], [FLOOR, *OURS], run, rounds)


def workers(server: Server, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure the whole suite of `headline` over the number of xdist's workers."""
    names = ("no isolation", "db-testing, rollback", "db-testing, commit")
    variants = headline.variants_named(names)
    taken: dict[tuple[int, str], list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
            headline.generate(Path(temporary), headline.TESTS, "uniform")
            for number in (1, 2, 4, 8):
                mode = headline.modes(number)[2]
                for variant in variants:
                    seconds, _ = headline.run(Path(temporary), variant, mode, server.url)
                    taken.setdefault((number, variant.name), []).append(seconds)
    for (number, name), times in taken.items():
        yield {
            "over": "workers",
            "value": number,
            "isolation": name,
            "seconds": round(statistics.median(times), 2),
            "rounds": rounds,
        }


APPLICATION: Final = """
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text
from db_testing import Schema

metadata = MetaData()
for number in range(50):
    Table(
        f"application{APPLICATION}_{{number}}", metadata,
        Column("id", Integer, primary_key=True), Column("name", Text),
    )

@pytest.fixture(scope="package")
def table():
    return metadata.sorted_tables[0]
"""
APPLICATION_OURS: Final = """
@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_metadata(metadata)
"""
APPLICATION_TEST: Final = """
import pytest
from sqlalchemy import func, select

@pytest.mark.parametrize("number", range({tests}))
async def test_writes_and_reads(db, table, number):
    await db.execute(table.insert(), [dict(name="Ada"), dict(name="Bob")])
    await db.commit()
    assert (await db.execute(select(func.count()).select_from(table))).scalar_one() == 2
"""


def applications(server: Server, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure a run of several applications, each with a schema of its own, always 400 tests."""
    for number in (1, 2, 4, 8):
        for how in ("rollback", "commit"):
            times = [_run_applications(server, number, how) for _ in range(rounds)]
            yield {
                "over": "applications",
                "value": number,
                "isolation": f"db-testing {how}",
                "seconds": round(statistics.median(times), 2),
                "rounds": rounds,
            }


def _run_applications(server: Server, number: int, how: str) -> float:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        folder = Path(temporary)
        (folder / "pytest.ini").write_text(
            suites.INI + "    --import-mode=importlib -p place -p db_testing\n"
        )
        for each in range(number):
            place = folder / f"application{each}"
            place.mkdir()
            (place / "__init__.py").touch()
            conftest = APPLICATION.replace("{APPLICATION}", str(each)).replace("{{", "{")
            conftest = conftest.replace("}}", "}") + APPLICATION_OURS
            (place / "conftest.py").write_text(conftest)
            text = APPLICATION_TEST.format(tests=APPLICATION_TESTS // number)
            (place / f"test_application{each}.py").write_text(text)
        began = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", f"--db-isolation={how}"],
            cwd=folder,
            env=suites.environment(BENCHMARK_SERVER=server.url),
            capture_output=True,
            text=True,
            check=False,
        )
        taken = time.perf_counter() - began
    if ran.returncode:
        sys.exit(f"{number} applications failed:\n{ran.stdout}{ran.stderr}")
    return taken


def memory(server: Server, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure what test processes and the server use, between two tests."""
    for suite in (FLOOR, *OURS):
        clients, servers_ = [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
                folder = Path(temporary) / "suite"
                suite.write(folder)
                with suites.start(suite, folder, server, tests=200, tables=50) as run:
                    run.block(server)
                    run.block(server)
                    clients.append(processes.memory(run.process.pid))
                    servers_.append(server.memory())
        yield {
            "over": "memory",
            "value": 50,
            "isolation": suite.name,
            "test_process_mb": round(statistics.median(clients), 1),
            "server_mb": round(statistics.median(servers_), 1),
            "rounds": rounds,
        }


MEASURES: Final[Mapping[str, Callable[[Server, int], Iterator[dict[str, Any]]]]] = {
    "tables": tables,
    "tests": many_tests,
    "tests-100000": very_many_tests,
    "rows": rows,
    "workers": workers,
    "applications": applications,
    "memory": memory,
}
HEADS: Final = {
    "tables": "tables in the schema",
    "tests": "tests in the suite",
    "rows": "rows written by a test",
    "workers": "workers of xdist, the whole suite of 838 tests",
    "applications": f"applications in one run, {APPLICATION_TESTS} tests in all",
    "memory": "memory in MB (PSS), 50 tables",
}


def everything(result: results.Result) -> str:
    """Render all that was found."""
    tables = []
    for over, title in HEADS.items():
        found = [row for row in result.rows if row["over"] == over]
        if not found:
            continue
        if over == "memory":
            lines = ["| isolation | test process | server |", "|---|---:|---:|"]
            lines += [
                f"| {row['isolation']} | {row['test_process_mb']:.0f} | {row['server_mb']:.0f} |"
                for row in found
            ]
        else:
            values = sorted({row["value"] for row in found})
            lines = [
                "| isolation | " + " | ".join(f"{value:,}" for value in values) + " |",
                "|---|" + "---:|" * len(values),
            ]
            for name in dict.fromkeys(row["isolation"] for row in found):
                cells = {row["value"]: cell(row) for row in found if row["isolation"] == name}
                shown = (cells.get(value, "") for value in values)
                lines.append(f"| {name} | " + " | ".join(shown) + " |")
        tables.append(f"{title[0].upper()}{title[1:]}:\n\n" + "\n".join(lines))
    if not any(row["over"] == "tests" and row["value"] == 10**5 for row in result.rows):
        tables.append("A suite of 100,000 tests has not been run with these versions.")
    return "\n\n".join(tables)


def cell(row: Mapping[str, Any]) -> str:
    """Render what was found for one value."""
    if "fails" in row:
        return "fails"
    if "seconds" in row:
        return f"{row['seconds']:.1f} s"
    if row["isolation"] == FLOOR.name:
        return f"{row['ms']:.2f} ms"
    return f"{row['over_floor_ms']:+.2f}"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("measures", nargs="+", choices=MEASURES, help="what is measured")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each")
    options = parser.parse_args()
    with servers.own() as server:
        for name in options.measures:
            found = []
            for row in MEASURES[name](server, options.rounds):
                print(row, flush=True)
                found.append(row)
            results.made("scale", found, key=("over", "value", "isolation")).write()
    print(everything(results.read("scale")))


if __name__ == "__main__":
    main()
