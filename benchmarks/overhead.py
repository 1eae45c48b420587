"""What isolation adds to a test, ours and others', as exactly as a noisy machine lets it be known.

    moon run benchmarks:overhead -- [--pairs 1500] [--tables 20 50 200 1000] [--kinds commit ...]

The tests are `isolation`'s, and so are the fixtures (`peers.py`). Here one process runs each test
twice in a row, with isolation and without, in pairs of which every other one begins with the one
and every other with the other: whatever slows a process or a machine down slows both. Those without
find no hook of db-testing's, and a server of their own: their commits would make the tests with
isolation look whose they are. Twenty of the tables are used, however many there are. What is slow
says enough with fewer pairs, see `BUDGET`. At the end each kind shows that it leaves of its tests
what it is known to leave, and nothing else: what undoes less is not measured.

Reported are the medians of the differences within pairs, of wall time and of processor time (of the
test process and of the servers), each with a bootstrapped interval of 95 %. The row `control` has
nothing on either side, and so says what such a figure is worth; in the row `hooks` the plugin is
loaded, and no test uses it. What is on psycopg has a floor of its own, and is compared with ours on
psycopg. Wall time is given in multiples of the yardstick too, BEGIN and ROLLBACK on an open
connection, with which figures of several machines can be compared. What was found replaces those
rows of `results/overhead.json` that are measured again, as soon as all kinds have been measured
with a number of tables.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import intervals
import results
import server as servers
import suites
from peers import (
    FLOOR,
    FLOOR_ON_PSYCOPG,
    OURS,
    OURS_ON_PSYCOPG,
    PEERS,
    PEERS_ON_PSYCOPG,
    synchronous,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server import Server
    from suites import Suite

COLD: Final = 50
"""Pairs at the beginning that do not count; of few pairs, a fifth."""
BUDGET: Final = 8.0
"""Seconds of tests after which a kind has said enough."""
LEAST: Final = 20
"""Pairs that it runs all the same."""
USED: Final = 20
"""Tables that tests write to, of however many there are."""
MANY: Final = 10
"""Times from which tenths say nothing."""

PAIRS = """
import gc
from processes import cpu

BUDGET, LEAST = json.loads(os.environ["BENCHMARK_ENOUGH"])
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
    last = items.pop()
    half = len(items) // 2
    pairs = list(zip(items[:half], items[half:]))
    items.clear()
    for number, pair in enumerate(pairs):
        items += pair if number % 2 else pair[::-1]
    items.append(last)
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
    global began
    if item.originalname == "test_leaves":
        return (yield)
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
    if len(rows) == 2:  # these have built the schemas
        began = time.perf_counter()
    if len(rows) in range(2 * LEAST, len(item.session.items) - 1, 2):
        if time.perf_counter() - began > BUDGET:
            del item.session.items[len(rows):-1]
    return result

def pytest_sessionfinish():
    with open(os.environ["BENCHMARK_TIMES"], "w") as file:
        json.dump(rows, file)
"""
_, _, BODY = suites.TESTS.partition("@pytest")
LEAVES = """
async def test_leaves(db):
    left = []
    if any([(await db.execute(select(table).limit(1))).first() for table in USED]):
        left.append("rows")
    db.add(row := USED[0](name="the next", amount=0, status=Status.open, details={}))
    await db.flush()
    if row.id != 1:
        left.append("sequences")
    assert left == os.environ["BENCHMARK_LEAVES"].split()
"""
TESTS = (
    suites.TESTS.replace("test_writes_and_reads", "test_ours")
    .replace("@pytest", "@pytest" + BODY.replace("db", "floor") + "\n@pytest")
    .replace("TABLES[number % len(TABLES)]", "USED[number % len(USED)]")
    .replace("ROWS =", f"USED = TABLES[:: max(1, len(TABLES) // {USED})]\nROWS =", 1)
) + LEAVES


class Kind(NamedTuple):
    """What is measured, beside a floor."""

    suite: Suite
    floor: Suite = FLOOR
    tests: str = TESTS
    beside: str = "commit"
    """The kind of which it is given as a multiple."""
    leaves: str = ""
    """What is left of a test: rows, sequences."""

    @property
    def conftest(self) -> str:
        """The fixtures of both sides, each with an engine on a server of its own."""
        engine = suites.ENGINE.replace("def engine(", "def floor_engine(")
        floor = re.sub(r"\bengine\b", "floor_engine", self.floor.conftest)
        parts = (
            suites.DATABASE,
            engine.replace("BENCHMARK_SERVER", "BENCHMARK_FLOOR"),
            re.sub(r"\bdb\b", "floor", floor),
            self.suite.conftest,
            PAIRS,
        )
        return "".join(parts)


NOTHING: Final[Mapping[str, Kind]] = {
    "control": Kind(FLOOR, leaves="rows sequences"),
    "hooks": Kind(replace(FLOOR, options=["-p", "db_testing"]), leaves="rows sequences"),
}
KINDS: Final[Mapping[str, Kind]] = {
    **NOTHING,
    **{suite.name.removeprefix("db-testing "): Kind(suite) for suite in OURS},
    **{
        suite.name: Kind(suite, leaves="sequences" if "leaves sequences" in suite.remark else "")
        for suite in PEERS
        if not suite.options  # a plugin's hooks would be part of the tests without it too
    },
    **{
        suite.name.removeprefix("db-testing "): Kind(
            suite, FLOOR_ON_PSYCOPG, synchronous(TESTS, "db_sync"), "commit, psycopg"
        )
        for suite in OURS_ON_PSYCOPG
    },
    **{
        suite.name: Kind(suite, FLOOR_ON_PSYCOPG, synchronous(TESTS), "commit, psycopg")
        for suite in PEERS_ON_PSYCOPG
        if suite.name == "pytest-postgresql"
    },
}


class Times(NamedTuple):
    """Seconds of a test."""

    ours: bool
    wall: float
    cpu: float


def middle(values: Sequence[float]) -> list[float]:
    """Return in ms the median, between the ends of its interval of 95 %."""
    return [round(each * 1e3, 3) for each in intervals.median(values)]


def measure(
    floor: Server,
    server: Server,
    kind: Kind,
    *,
    tables: int,
    pairs: int,
    budget: float = BUDGET,
) -> dict[str, Any]:
    """Run the suite once, and return what was found."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        folder = Path(temporary)
        for name, text in {
            "pytest.ini": suites.INI,
            "models.py": suites.MODELS,
            "conftest.py": kind.conftest,
            "test_suite.py": kind.tests,
        }.items():
            (folder / name).write_text(text)
        yardstick = server.yardstick(suites.YARDSTICKS)
        told = suites.shape(server, tests=pairs, tables=tables) | {
            "BENCHMARK_FLOOR": floor.url,
            "BENCHMARK_PARENTS": f"{floor.postmaster} {server.postmaster}",
            "BENCHMARK_ENOUGH": json.dumps([budget, LEAST]),
            "BENCHMARK_LEAVES": kind.leaves,
            "BENCHMARK_TIMES": str(folder / "times.json"),
        }
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-p", "place", *kind.suite.options],
            cwd=folder,
            env=suites.environment(**told),
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            sys.exit(f"{kind.suite.name} fails:\n{ran.stdout}{ran.stderr}")
        yardstick += server.yardstick(suites.YARDSTICKS)
        times = [Times(*each) for each in json.loads((folder / "times.json").read_text())]
    found = list(zip(times[::2], times[1::2], strict=True))
    found = found[min(COLD, len(found) // 5) :]
    both = [(one, two) if two.ours else (two, one) for one, two in found]
    return {
        "pairs": len(both),
        "floor_ms": round(statistics.median(without.wall for without, _ in both) * 1e3, 3),
        "more_ms": middle([ours.wall - without.wall for without, ours in both]),
        "more_cpu_ms": middle([ours.cpu - without.cpu for without, ours in both]),
        "yardstick_ms": round(statistics.median(yardstick) * 1e3, 4),
    }


HEAD = """\
| isolation | tables | pairs | a test without | with: more (95 %) | processor time | in yardsticks |
|---|---:|---:|---:|---:|---:|---:|"""


def line(row: Mapping[str, Any]) -> str:
    """Render a row."""
    wall, cpu = (
        f"{middle:+,.2f} ms ({low:+,.2f} to {high:+,.2f})"
        for low, middle, high in (row["more_ms"], row["more_cpu_ms"])
    )
    return (
        f"| {row['isolation']} | {row['tables']:,} | {row['pairs']:,} | {row['floor_ms']:.2f} ms "
        f"| {wall} | {cpu} "
        f"| {row['more_ms'][1] / row['yardstick_ms']:+,.1f} of {row['yardstick_ms']:.2f} ms |"
    )


def cell(row: Mapping[str, Any] | None, beside: Mapping[str, Any] | None) -> str:
    """Render what isolation adds, and how many times what ours adds that is."""
    if row is None:
        return ""
    more = f"{row['more_ms'][1]:+,.2f} ms"
    if beside is None or row["isolation"] in NOTHING:
        return more
    times = row["more_ms"][1] / beside["more_ms"][1]
    return f"{more}, {times:.1f} times" if times < MANY else f"{more}, {times:,.0f} times"


def everything(result: results.Result) -> str:
    """Render all that was found: what isolation adds beside others', and each row in full."""
    found = {(row["isolation"], row["tables"]): row for row in result.rows}
    sizes = sorted({row["tables"] for row in result.rows})
    lines = [
        "| isolation | " + " | ".join(f"{size:,} tables" for size in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    full = [HEAD]
    for name, kind in KINDS.items():
        rows = [found.get((name, size)) for size in sizes]
        if not any(rows):
            continue
        cells = (
            cell(row, found.get((kind.beside, size))) for row, size in zip(rows, sizes, strict=True)
        )
        remark = f"; {kind.suite.remark}" if kind.suite.remark else ""
        lines.append(f"| {name}{remark} | " + " | ".join(cells) + " |")
        full += [line(row) for row in rows if row]
    return "\n".join(lines) + "\n\nIn full:\n\n" + "\n".join(full)


def main() -> None:
    """Measure, and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=1500, help="tests of each kind, at most")
    parser.add_argument("--tables", type=int, nargs="+", default=[20, 50, 200, 1000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    # The plugin uses the one that was started last.
    with servers.own() as floor, servers.own() as server:
        print(HEAD)
        for tables in options.tables:
            rows = []
            for name in options.kinds:
                found = measure(floor, server, KINDS[name], tables=tables, pairs=options.pairs)
                rows.append({"tables": tables, "isolation": name} | found)
                print(line(rows[-1]), flush=True)
            path = results.made("overhead", rows, key=("tables", "isolation")).write()
            print(f"\nwritten to {path}\n", flush=True)


if __name__ == "__main__":
    main()
