"""What isolation adds to a test, as exactly as a noisy machine lets it be known.

    moon run benchmarks:overhead -- [--tests 800] [--tables 20 50 200 1000]

The tests are `isolation`'s. Here one process runs them with and without isolation, in blocks of 25
in turn: whatever slows a process or a machine down for more than a moment slows both. Of each block
the first five tests find caches cold, and do not count. Reported are the median and the quartiles
of the differences between the medians of blocks that followed each other. They are also given as
multiples of the yardstick, BEGIN and ROLLBACK on an open connection, with which figures of several
machines can be compared. What was found replaces those rows of `results/overhead.json` that are
measured again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import results
import server as servers
import suites
from peers import FLOOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from server import Server

BLOCK: Final = 25
"""Tests that follow each other with one isolation."""
COLD: Final = 5
"""How many of them do not count."""
ISOLATIONS: Final = ("rollback", "commit")

CONFTEST = (
    suites.DATABASE
    + FLOOR.conftest.replace("def db(", "def floor(")
    + """
times = []
end = None

def pytest_collection_modifyitems(items):
    half = len(items) // 2
    floors, ours = items[:half], items[half:]
    block = int(os.environ["BENCHMARK_BLOCK"])
    items.clear()
    for begin in range(0, half, block):
        items += floors[begin : begin + block] + ours[begin : begin + block]

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    global end
    result = yield
    begin, end = end, time.perf_counter()
    times.append(end - begin if begin is not None else None)
    return result

def pytest_sessionfinish():
    with open(os.environ["BENCHMARK_TIMES"], "w") as file:
        json.dump(times, file)
"""
)
_, _, BODY = suites.TESTS.partition("@pytest")
TESTS = suites.TESTS.replace("test_writes_and_reads", "test_ours").replace(
    "@pytest", "@pytest" + BODY.replace("db", "floor") + "\n@pytest"
)


def differences(times: Sequence[float | None]) -> tuple[float, list[float]]:
    """Return what a test takes without isolation, and how much more with it in each two blocks."""
    medians = [
        statistics.median(time for time in times[begin + COLD : begin + BLOCK] if time is not None)
        for begin in range(0, len(times), BLOCK)
    ]
    warm = list(pairwise(medians))[2::2]
    return statistics.median(floor for floor, _ in warm), [ours - floor for floor, ours in warm]


def measure(server: Server, tables: int, isolation: str, tests: int) -> dict[str, Any]:
    """Run the suite once, and return its row."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        folder = Path(temporary)
        for name, text in {
            "pytest.ini": suites.INI,
            "models.py": suites.MODELS,
            "conftest.py": CONFTEST,
            "test_suite.py": TESTS,
        }.items():
            (folder / name).write_text(text)
        yardstick = server.yardstick(suites.YARDSTICKS)
        told = suites.shape(server, tests=tests, tables=tables) | {
            "BENCHMARK_BLOCK": str(BLOCK),
            "BENCHMARK_TIMES": str(folder / "times.json"),
        }
        options = ["-p", "place", "-p", "db_testing", f"--db-isolation={isolation}"]
        subprocess.run(
            [sys.executable, "-m", "pytest", *options],
            cwd=folder,
            env=suites.environment(**told),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        yardstick += server.yardstick(suites.YARDSTICKS)
        floor, more = differences(json.loads((folder / "times.json").read_text()))
    return {
        "tables": tables,
        "isolation": isolation,
        "tests": tests,
        "floor_ms": round(floor * 1e3, 3),
        "more_ms": [round(each * 1e3, 3) for each in statistics.quantiles(more, n=4)],
        "yardstick_ms": round(statistics.median(yardstick) * 1e3, 4),
    }


HEAD = """\
| isolation | tables | a test without | with: more (quartiles) | in yardsticks |
|---|---:|---:|---:|---:|"""


def line(row: Mapping[str, Any]) -> str:
    """Render a row."""
    low, middle, high = row["more_ms"]
    return (
        f"| {row['isolation']} | {row['tables']:,} | {row['floor_ms']:.2f} ms | {middle:+.2f} ms "
        f"({low:+.2f} to {high:+.2f}) | {middle / row['yardstick_ms']:+.1f} of "
        f"{row['yardstick_ms']:.2f} ms |"
    )


def table(result: results.Result) -> str:
    """Render all that was found."""
    order = sorted(result.rows, key=lambda row: (ISOLATIONS.index(row["isolation"]), row["tables"]))
    return "\n".join([HEAD, *(line(row) for row in order)])


def rows(server: Server, sizes: Sequence[int], tests: int) -> Iterator[dict[str, Any]]:
    """Measure all, and print each row."""
    print(HEAD)
    for tables in sizes:
        for isolation in ISOLATIONS:
            row = measure(server, tables, isolation, tests)
            print(line(row), flush=True)
            yield row


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=800, help="tests of each kind")
    parser.add_argument("--tables", type=int, nargs="+", default=[20, 50, 200, 1000])
    options = parser.parse_args()
    with servers.own() as server:
        found = list(rows(server, options.tables, options.tests))
    result = results.made("overhead", found, key=("tables", "isolation"))
    print(f"\nwritten to {result.write()}", flush=True)


if __name__ == "__main__":
    main()
