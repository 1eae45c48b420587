"""What a report costs a test: one suite with `--db-report` and without it, in turn.

    moon run benchmarks:reporting -- [--tests 200] [--rounds 3] [--tables 20]

The tests are those of `isolation`: insert two rows, commit, read them back. Reported are the first
decile of a test's time, as there, and the ratio of the two; of several rounds the median, the least
and the most. Writing the report at the end is not part of it. What was found replaces
`results/reporting.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import isolation
import results
import server as servers
import suites
from peers import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server import Server

REPORTED: Final = {
    suite: dataclasses.replace(
        suite, name=f"{suite.name}, reported", options=[*suite.options, "--db-report=report.json"]
    )
    for suite in OURS
}


def measure(server: Server, *, tests: int, tables: int, number: int) -> Iterator[dict[str, Any]]:
    """Return a row for each isolation.

    Raises:
        RuntimeError: a suite has failed.
    """
    rounds = []
    for _ in range(number):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
            both = [suite for pair in REPORTED.items() for suite in pair]
            found, _ = suites.in_turn(both, Path(temporary), server, tests=tests, tables=tables)
            rounds.append(found)
    for plain, reported in REPORTED.items():
        failures = [found[each.name].failure for found in rounds for each in (plain, reported)]
        if any(failures):
            raise RuntimeError(f"{plain.name}: {failures}")
        without, with_ = (
            [isolation.decile(found[each.name].blocks) for found in rounds]
            for each in (plain, reported)
        )
        ratios = [more / less for more, less in zip(with_, without, strict=True)]
        yield {
            "isolation": plain.name.removeprefix("db-testing "),
            "tables": tables,
            "tests": tests,
            "rounds": number,
            "without_ms": round(statistics.median(without), 2),
            "with_ms": round(statistics.median(with_), 2),
            "ratio": round(statistics.median(ratios), 2),
            "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        }


def table(result: results.Result) -> str:
    """Render what was found."""
    lines = ["| isolation | without, ms | with, ms | ratio (rounds) |", "|---|---:|---:|---:|"]
    for row in result.rows:
        least, most = row["ratio_range"]
        lines.append(
            f"| {row['isolation']} | {row['without_ms']:.2f} | {row['with_ms']:.2f} "
            f"| {row['ratio']:.2f} ({least:.2f} to {most:.2f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=200, help="tests in the suite")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    parser.add_argument("--tables", type=int, default=20, help="tables in its schema")
    options = parser.parse_args()
    with servers.own() as server:
        rows = list(
            measure(server, tests=options.tests, tables=options.tables, number=options.rounds)
        )
    result = results.made("reporting", rows, key=("isolation",))
    print(f"{table(result)}\nwritten to {result.write()}")


if __name__ == "__main__":
    main()
