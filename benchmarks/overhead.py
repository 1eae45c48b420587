"""What isolation adds to a test, as exactly as a noisy machine lets it be known.

    moon run benchmarks:overhead -- [--pairs 1500] [--tables 20 50 200 1000]

The tests are `isolation`'s. Here one process runs each of them twice in a row, with isolation and
without, in pairs of which every other one begins with the one and every other with the other:
whatever slows a process or a machine down slows both. Those without find no hook of db-testing's,
and a server of their own: their commits would make the tests with isolation look whose they are.
Twenty of the tables are used, however many there are. Reported are the medians of the differences
within pairs, of wall time and of processor time (of the test process and of the servers), each with
a bootstrapped interval of 95 %. The row `control` has nothing on either side, and so says what such
a figure is worth; in the row `hooks` the plugin is loaded, and no test uses it. Wall time is given
in multiples of the yardstick too, BEGIN and ROLLBACK on an open connection, with which figures of
several machines can be compared. What was found replaces those rows of `results/overhead.json` that
are measured again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import intervals
import results
import server as servers
import suites
from peers import FLOOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from server import Server

COLD: Final = 50
"""Pairs at the beginning that do not count."""
USED: Final = 20
"""Tables that tests write to, of however many there are."""
KINDS: Final = ("control", "hooks", "rollback", "commit")

CONFTEST = (
    suites.DATABASE
    + FLOOR.conftest.replace("def db(", "def floor(")
    + """
import gc
from processes import cpu

rows = []
parents = [int(each) for each in os.environ["BENCHMARK_PARENTS"].split()]
hooks = []

def pytest_configure(config):
    for plugin in config.pluginmanager.get_plugins():
        name = config.pluginmanager.get_name(plugin) or ""
        if name.startswith("db_testing"):
            for caller in config.pluginmanager.get_hookcallers(plugin) or ():
                if caller.name.startswith(("pytest_runtest", "pytest_fixture", "pytest_report_t")):
                    hooks.extend((caller, each) for each in caller.get_hookimpls()
                                 if each.plugin is plugin)

def pytest_collection_modifyitems(items):
    half = len(items) // 2
    pairs = list(zip(items[:half], items[half:]))
    items.clear()
    for number, pair in enumerate(pairs):
        items += pair if number % 2 else pair[::-1]
    gc.collect()
    gc.freeze()

def turn(on):
    for caller, each in hooks:
        if on:
            caller._add_hookimpl(each)
        else:
            caller._hookimpls.remove(each)

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    ours = item.originalname == "test_ours"
    if not ours:
        turn(on=False)
    spent, wall = time.process_time() + sum(map(cpu, parents)), time.perf_counter()
    result = yield
    wall = time.perf_counter() - wall
    spent = time.process_time() + sum(map(cpu, parents)) - spent
    if not ours:
        turn(on=True)
    rows.append((ours, wall, spent))
    return result

def pytest_sessionfinish():
    with open(os.environ["BENCHMARK_TIMES"], "w") as file:
        json.dump(rows, file)
"""
)
UNUSED = (
    CONFTEST
    + """
@pytest.fixture(scope="session")
async def same(engine):
    same = create_async_engine(engine.url)
    yield same
    await same.dispose()

@pytest.fixture
async def db(same):
    async with async_sessionmaker(same)() as session:
        yield session
"""
)
_, _, BODY = suites.TESTS.partition("@pytest")
TESTS = (
    suites.TESTS.replace("test_writes_and_reads", "test_ours")
    .replace("@pytest", "@pytest" + BODY.replace("db", "floor") + "\n@pytest")
    .replace("TABLES[number % len(TABLES)]", "USED[number % len(USED)]")
    .replace("ROWS =", f"USED = TABLES[:: max(1, len(TABLES) // {USED})]\nROWS =", 1)
)


class Times(NamedTuple):
    """Seconds of a test."""

    ours: bool
    wall: float
    cpu: float


def middle(values: Sequence[float]) -> list[float]:
    """Return in ms the median, between the ends of its interval of 95 %."""
    return [round(each * 1e3, 3) for each in intervals.median(values)]


def measure(floor: Server, server: Server, tables: int, kind: str, pairs: int) -> dict[str, Any]:
    """Run the suite once, and return its row."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        folder = Path(temporary)
        for name, text in {
            "pytest.ini": suites.INI,
            "models.py": suites.MODELS,
            "conftest.py": UNUSED if kind in ("control", "hooks") else CONFTEST,
            "test_suite.py": TESTS,
        }.items():
            (folder / name).write_text(text)
        yardstick = server.yardstick(suites.YARDSTICKS)
        told = suites.shape(floor, tests=pairs, tables=tables) | {
            "BENCHMARK_PARENTS": f"{floor.postmaster} {server.postmaster}",
            "BENCHMARK_TIMES": str(folder / "times.json"),
        }
        options = {
            "control": ["-p", "place"],
            "hooks": ["-p", "place", "-p", "db_testing"],
        }.get(kind, ["-p", "place", "-p", "db_testing", f"--db-isolation={kind}"])
        subprocess.run(
            [sys.executable, "-m", "pytest", *options],
            cwd=folder,
            env=suites.environment(**told),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        yardstick += server.yardstick(suites.YARDSTICKS)
        times = [Times(*each) for each in json.loads((folder / "times.json").read_text())]
    found = list(zip(times[::2], times[1::2], strict=True))[COLD:]
    both = [(one, two) if two.ours else (two, one) for one, two in found]
    return {
        "tables": tables,
        "isolation": kind,
        "pairs": len(both),
        "floor_ms": round(statistics.median(without.wall for without, _ in both) * 1e3, 3),
        "more_ms": middle([ours.wall - without.wall for without, ours in both]),
        "more_cpu_ms": middle([ours.cpu - without.cpu for without, ours in both]),
        "yardstick_ms": round(statistics.median(yardstick) * 1e3, 4),
    }


HEAD = """\
| isolation | tables | a test without | with: more (95 %) | processor time | in yardsticks |
|---|---:|---:|---:|---:|---:|"""


def line(row: Mapping[str, Any]) -> str:
    """Render a row."""
    wall, cpu = (
        f"{middle:+.2f} ms ({low:+.2f} to {high:+.2f})"
        for low, middle, high in (row["more_ms"], row["more_cpu_ms"])
    )
    return (
        f"| {row['isolation']} | {row['tables']:,} | {row['floor_ms']:.2f} ms | {wall} | {cpu} "
        f"| {row['more_ms'][1] / row['yardstick_ms']:+.1f} of {row['yardstick_ms']:.2f} ms |"
    )


def table(result: results.Result) -> str:
    """Render all that was found."""
    order = sorted(result.rows, key=lambda row: (KINDS.index(row["isolation"]), row["tables"]))
    return "\n".join([HEAD, *(line(row) for row in order)])


def rows(
    floor: Server, server: Server, sizes: Sequence[int], kinds: Sequence[str], pairs: int
) -> Iterator[dict[str, Any]]:
    """Measure all, and print each row."""
    print(HEAD)
    for tables in sizes:
        for kind in kinds:
            row = measure(floor, server, tables, kind, pairs)
            print(line(row), flush=True)
            yield row


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=1500, help="tests of each kind")
    parser.add_argument("--tables", type=int, nargs="+", default=[20, 50, 200, 1000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    # The plugin uses the one that was started last.
    with servers.own() as floor, servers.own() as server:
        found = list(rows(floor, server, options.tables, options.kinds, options.pairs))
    result = results.made("overhead", found, key=("tables", "isolation"))
    print(f"\nwritten to {result.write()}", flush=True)


if __name__ == "__main__":
    main()
