"""What isolation costs a test: one suite, run with each way of isolating it, in turn.

    moon run benchmarks:isolation -- [--tests 200] [--rounds 3] [--tables 20 50] [--only TEXT ...]

Every variant (`peers.py`) runs the same tests: insert two rows with an enum, a domain and JSONB,
commit, read them back. They do so on the same embedded server, which nobody else uses; only the
fixture `db` differs. DELETE leaves sequences where they are, unless its script sets them back, and
would delete rows of the template's; TRUNCATE would too. A test takes from the end of the one before
to its own end. The variants run in turn, see `suites.py`. Whatever else a machine does can only
make a test slower: the first decile of a variant's tests, less that of its floor's, is what its
isolation costs by itself. Some processes are slower than others of the same program for all their
life, so there are rounds: reported are the median of these, the least and the most. Beside it
stands what isolation cost on this machine as it was: the quartiles of the differences between tests
that followed each other; and what it cost in processor time, of the test process and of all of the
server's. The yardstick is BEGIN and ROLLBACK on an open connection, laid to the machine between the
turns: figures of several machines can be compared as multiples of it. What was found replaces those
rows of `results/isolation.json` that are measured again. How runs begin is `startup`'s.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import results
import server as servers
import suites
from peers import FLOORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from server import Server
    from suites import Block, Measured, Suite


MANY: Final = 10
"""Times from which hundredths say nothing."""


def decile(blocks: Sequence[Block]) -> float:
    """Return the first decile of the tests, in ms."""
    times = [time for block in blocks for time in block.times]
    return statistics.quantiles(times, n=10)[0] * 1e3


def over(
    value: Callable[[Block], float], measured: Sequence[Block], floor: Sequence[Block]
) -> list[float]:
    """Return the differences, in ms, between blocks that followed each other."""
    return [(value(a) - value(b)) * 1e3 for a, b in zip(measured, floor, strict=False)]


def figures(
    measured: Sequence[Sequence[Block]], floors: Sequence[Sequence[Block]]
) -> dict[str, Any]:
    """Return what was found of a variant in all rounds, beside its floor."""
    each = [decile(blocks) for blocks in measured]
    more = [own - decile(floor) for own, floor in zip(each, floors, strict=True)]
    rounds = list(zip(measured, floors, strict=True))
    beside: dict[str, list[float]] = {
        name: [difference for own, floor in rounds for difference in over(value, own, floor)]
        for name, value in {
            "wall": lambda block: statistics.median(block.times),
            "client": lambda block: block.cpu,
            "server": lambda block: block.server_cpu,
        }.items()
    }
    return {
        "ms": round(statistics.median(each), 3),
        "over_floor_ms": round(statistics.median(more), 3),
        "over_floor_range_ms": [round(min(more), 3), round(max(more), 3)],
        "side_by_side_ms": [round(each, 3) for each in statistics.quantiles(beside["wall"], n=4)],
        "client_processor_ms": round(statistics.fmean(beside["client"]), 3),
        "server_processor_ms": round(statistics.fmean(beside["server"]), 3),
    }


def measure(
    server: Server, variants: Sequence[Suite], *, tests: int, tables: int, number: int
) -> Iterator[dict[str, Any]]:
    """Measure with one number of tables, and return a row for each variant."""
    rounds: list[dict[str, Measured]] = []
    yardstick: list[float] = []
    for _ in range(number):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
            found, times = suites.in_turn(
                variants, Path(temporary), server, tests=tests, tables=tables
            )
            rounds.append(found)
            yardstick += times
    for suite in variants:
        row: dict[str, Any] = {
            "tables": tables,
            "isolation": suite.name,
            "rounds": number,
            "tests": tests,
            "yardstick_ms": round(statistics.median(yardstick) * 1e3, 4),
        }
        failures = [found[suite.name].failure for found in rounds if found[suite.name].failure]
        if failures:
            yield row | {"fails": failures[0]}
            continue
        floor = FLOORS[suite].name
        yield (
            row
            | figures(
                [found[suite.name].blocks for found in rounds],
                [found[floor].blocks for found in rounds],
            )
        )


HEAD = """
| isolation | ms per test | over nothing (rounds) | side by side (quartiles) | processor time, \
client | server |
|---|---:|---:|---:|---:|---:|"""


def line(row: Mapping[str, Any]) -> str:
    """Render all of a row."""
    if "fails" in row:
        return f"| {row['isolation']} | fails: {row['fails']} | | | | |"
    low, middle, high = row["side_by_side_ms"]
    least, most = row["over_floor_range_ms"]
    return (
        f"| {row['isolation']} | {row['ms']:.2f} | {row['over_floor_ms']:+.2f} "
        f"({least:+.2f} to {most:+.2f}) | {middle:+.2f} ({low:+.2f} to {high:+.2f}) "
        f"| {row['client_processor_ms']:+.2f} | {row['server_processor_ms']:+.2f} |"
    )


def table(result: results.Result) -> str:
    """Render how many times as long as its floor's a test takes, over numbers of tables."""
    found = {(row["isolation"], row["tables"]): row for row in result.rows}
    sizes = sorted({row["tables"] for row in result.rows})
    lines = [
        "| isolation | " + " | ".join(f"{size:,} tables" for size in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    for suite, floor in FLOORS.items():
        if not any((suite.name, size) in found for size in sizes):
            continue
        cells = (
            cell(found.get((suite.name, size)), found.get((floor.name, size))) for size in sizes
        )
        name = f"{suite.name}; {suite.remark}" if suite.remark else suite.name
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def remarked(row: Mapping[str, Any], first: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say of a row whether it is of more or fewer tests than the first."""
    if (row["tests"], row["rounds"]) == (first["tests"], first["rounds"]):
        return row
    much = f"{row['tests']} tests, rounds: {row['rounds']}"
    return {**row, "isolation": f"{row['isolation']}; {much}"}


def everything(result: results.Result) -> str:
    """Render all that was found."""
    parts = []
    for size in sorted({row["tables"] for row in result.rows}):
        rows = [row for row in result.rows if row["tables"] == size]
        first = rows[0]
        parts.append(
            f"{size:,} tables, {first['tests']} tests, {first['rounds']} rounds, yardstick "
            f"{first['yardstick_ms']:.3f} ms:\n{HEAD}\n"
            + "\n".join(line(remarked(row, first)) for row in rows)
        )
    return "\n\n".join(parts)


def cell(row: Mapping[str, Any] | None, floor: Mapping[str, Any] | None) -> str:
    """Render what a test takes, in ms without any isolation, or else as a multiple of that."""
    if row is None or floor is None:
        return ""
    if row is floor:
        return f"{row['ms']:.1f} ms"
    if "fails" in row:
        return "fails"
    times = 1 + row["over_floor_ms"] / floor["ms"]
    return f"{times:.2f}" if times < MANY else f"{times:.0f}"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=200, help="tests in the suite")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--tables", type=int, nargs="+", default=[50], help="tables in its schema")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        metavar="TEXT",
        help="variants whose name contains one of these, and their floors",
    )
    options = parser.parse_args()
    variants = [suite for suite in FLOORS if any(only in suite.name for only in options.only)]
    variants = list(dict.fromkeys([FLOORS[suite] for suite in variants] + variants))

    with servers.own() as server:
        for tables in options.tables:
            print(f"\n{tables} tables, {options.tests} tests, {options.rounds} rounds\n{HEAD}")
            rows = []
            for row in measure(
                server, variants, tests=options.tests, tables=tables, number=options.rounds
            ):
                print(line(row), flush=True)
                rows.append(row)
            found = results.made("isolation", rows, key=("tables", "isolation"))
            print(f"\nwritten to {found.write()}", flush=True)


if __name__ == "__main__":
    main()
