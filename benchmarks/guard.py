"""Fail when isolation has become dear: more than twice what was recorded, beside its floor.

    moon run benchmarks:guard -- [--record calls writes time] [--rounds 4]

Never by absolute figures: in one run, the same tests run with isolation and without, and what is
compared is the ratio, what isolation adds to a test over what the test has without. Three things
are measured: the calls of functions, the writes to the server, and the time. The first two are
counted, whatever else the machine does. Time is measured in turn (see `suites.py`); other load can
only make the one or the other slower, so a round with too high a ratio is measured again, and only
when every round's is too high has isolation become dear. Compared is what has been recorded, in
`results/guard.json`; the time is to be recorded on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import results
import server as servers
import suites
from isolation import decile
from peers import FLOOR, OURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server import Server

Ratios = dict[tuple[str, str], float]
"""What an isolation adds of something, over what the test has without."""

FACTOR: Final = 2.0
TABLES: Final = 50
TESTS: Final = 200
COUNTED: Final = ("calls", "writes")
MEASURES: Final = (*COUNTED, "time")
WHAT: Final[Mapping[str, str]] = {
    "calls": "the calls of functions",
    "writes": "the writes to the server",
    "time": "the time",
}


def timed(server: Server) -> Ratios:
    """Measure the time."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        found, _ = suites.in_turn(
            [FLOOR, *OURS], Path(temporary), server, tests=TESTS, tables=TABLES
        )
    for name, measured in found.items():
        if measured.failure:
            sys.exit(f"{name} fails: {measured.failure}")
    floor = decile(found[FLOOR.name].blocks)
    return {(suite.name, "time"): decile(found[suite.name].blocks) / floor - 1 for suite in OURS}


def counted(server: Server) -> Ratios:
    """Count calls and writes."""
    found = {}
    for suite in (FLOOR, *OURS):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
            folder, counts = Path(temporary) / "suite", Path(temporary) / "counts"
            counting = replace(suite, options=[*suite.options, "-p", "counted"])
            counting.write(folder)
            started = suites.start(
                counting, folder, server, tests=TESTS // 2, tables=TABLES, counts=counts
            )
            with started as run:
                while run.block(server):
                    pass
                if failure := run.end():
                    sys.exit(f"{suite.name} fails: {failure}")
            found[suite.name] = json.loads(counts.read_text())
    floor = found[FLOOR.name]
    return {
        (suite.name, what): found[suite.name][what] / floor[what] - 1
        for suite in OURS
        for what in COUNTED
    }


def measured(server: Server, measures: Sequence[str]) -> Ratios:
    """Measure one round of what is asked for."""
    found = counted(server) if set(COUNTED).intersection(measures) else {}
    if "time" in measures:
        found |= timed(server)
    return {key: ratio for key, ratio in found.items() if key[1] in measures}


def limit(recorded: float) -> float:
    """Return what isolation may add: twice what was recorded, or nothing where it spared some."""
    return max(FACTOR * recorded, 0.0)


def record(server: Server, measures: Sequence[str], rounds: int) -> None:
    """Write down what isolation costs now."""
    found = [measured(server, measures) for _ in range(rounds)]
    rows = []
    for isolation, what in found[0]:
        each = sorted(round(ratios[isolation, what], 3) for ratios in found)
        ratio = round(statistics.median(each), 3)
        rows.append({"isolation": isolation, "what": what, "ratio": ratio, "rounds": each})
        print(rows[-1])
    print(f"written to {results.made('guard', rows, key=['isolation', 'what']).write()}")


def check(server: Server, rounds: int) -> None:
    """Compare with what was recorded."""
    recorded: Ratios = {
        (row["isolation"], row["what"]): row["ratio"] for row in results.read("guard").rows
    }
    least: Ratios = {}
    dear = set(recorded)
    for number in range(rounds):
        for key, ratio in measured(server, sorted({what for _, what in dear})).items():
            least[key] = min(ratio, least.get(key, ratio))
            adds = f"{key[0]} adds {ratio:.2f} of {WHAT[key[1]]}"
            print(f"round {number + 1}: {adds}; limit {limit(recorded[key]):.2f}", flush=True)
        dear = {key for key in dear if least[key] > limit(recorded[key])}
        if not dear:
            return
    told = [
        f"{isolation} adds {least[isolation, what]:.2f} of {WHAT[what]} of a test; recorded "
        f"were {recorded[isolation, what]:.2f}, the limit is {limit(recorded[isolation, what]):.2f}"
        for isolation, what in sorted(dear)
    ]
    sys.exit(
        f"In each of {rounds} rounds: {'; '.join(told)}. `moon run benchmarks:profile` shows where "
        f"a test's time goes. If it has to be so: moon run benchmarks:guard -- --record "
        f"{' '.join(sorted({what for _, what in dear}))}"
    )


def everything(result: results.Result) -> str:
    """Render what was recorded."""
    lines = ["| isolation | adds, of a test without | each round | limit |", "|---|---:|---:|---:|"]
    for row in result.rows:
        each = ", ".join(f"{ratio:.2f}" for ratio in row["rounds"])
        lines.append(
            f"| {row['isolation']} | {row['ratio']:.2f} of {WHAT[row['what']]} | {each} "
            f"| {limit(row['ratio']):.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Check, or record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", nargs="+", choices=MEASURES, help="write down what it is now")
    parser.add_argument("--rounds", type=int, default=4, help="rounds at most, or to record")
    options = parser.parse_args()
    with servers.own() as server:
        if options.record:
            record(server, options.record, options.rounds)
        else:
            check(server, options.rounds)


if __name__ == "__main__":
    main()
