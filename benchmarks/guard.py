"""Fail when isolation has become dear: more than twice what was recorded, beside its floor.

    moon run benchmarks:guard -- [--record] [--rounds 4]

Never by absolute times: in one run, the same tests with isolation and without take turns (see
`suites.py`), and what is compared is the ratio, what isolation adds to a test over what the test
takes without. Whatever else the machine does can only make the one or the other slower, so a round
with too high a ratio is measured again, and only when every round's is too high has isolation
become dear. `--record` writes the medians of the rounds to `results/guard.json`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import results
import server as servers
import suites
from isolation import decile
from peers import FLOOR, OURS

if TYPE_CHECKING:
    from server import Server

FACTOR: Final = 2.0
TABLES: Final = 50
TESTS: Final = 200


def ratios(server: Server) -> dict[str, float]:
    """Measure one round: what each isolation adds to a test, over what the test takes."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        found, _ = suites.in_turn(
            [FLOOR, *OURS], Path(temporary), server, tests=TESTS, tables=TABLES
        )
    for name, measured in found.items():
        if measured.failure:
            sys.exit(f"{name} fails: {measured.failure}")
    floor = decile(found[FLOOR.name].blocks)
    return {suite.name: decile(found[suite.name].blocks) / floor - 1 for suite in OURS}


def record(server: Server, rounds: int) -> None:
    """Write down what isolation costs now."""
    found = [ratios(server) for _ in range(rounds)]
    rows = []
    for suite in OURS:
        each = sorted(round(ratio[suite.name], 3) for ratio in found)
        rows.append(
            {"isolation": suite.name, "ratio": round(statistics.median(each), 3), "rounds": each}
        )
        print(rows[-1])
    print(f"written to {results.made('guard', rows, key=['isolation']).write()}")


def check(server: Server, rounds: int) -> None:
    """Compare with what was recorded."""
    limits = {row["isolation"]: FACTOR * row["ratio"] for row in results.read("guard").rows}
    least: dict[str, float] = {}
    for number in range(rounds):
        for name, ratio in ratios(server).items():
            least[name] = min(ratio, least.get(name, ratio))
            print(
                f"round {number + 1}: {name} adds {ratio:.2f} of a test; limit {limits[name]:.2f}"
            )
        if all(least[name] <= limit for name, limit in limits.items()):
            return
    dear = [
        f"{name} adds {ratio:.2f} of a test at least, over {FACTOR:.0f} times the "
        f"{limits[name] / FACTOR:.2f} that were recorded"
        for name, ratio in least.items()
        if ratio > limits[name]
    ]
    sys.exit(
        f"In each of {rounds} rounds: {'; '.join(dear)}. `moon run benchmarks:profile` shows where "
        f"a test's time goes. If it has to cost that much: moon run benchmarks:guard -- --record"
    )


def everything(result: results.Result) -> str:
    """Render what was recorded."""
    lines = ["| isolation | adds, of a test without | each round | limit |", "|---|---:|---:|---:|"]
    for row in result.rows:
        each = ", ".join(f"{ratio:.2f}" for ratio in row["rounds"])
        limit = FACTOR * row["ratio"]
        lines.append(f"| {row['isolation']} | {row['ratio']:.2f} | {each} | {limit:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Check, or record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", action="store_true", help="write down what it costs now")
    parser.add_argument("--rounds", type=int, default=4, help="rounds at most, or to record")
    options = parser.parse_args()
    with servers.own() as server:
        (record if options.record else check)(server, options.rounds)


if __name__ == "__main__":
    main()
