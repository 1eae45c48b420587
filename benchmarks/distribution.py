"""Whether xdist's `worksteal` is as fast as `loadfile`, which leaves each file to one worker.

    moon run benchmarks:distribution -- [--rounds 10] [--workers 2] [--mixes uniform] [--only TEXT]

The suite of `headline`, from start to exit, in both modes: in each round one right after the other,
the one first and then the other in turn. What is compared are the two of a round, and given is the
median of how much longer `worksteal` takes, with a bootstrapped interval of 95 %. What was found
replaces those rows of `results/distribution.json` that are measured again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import headline
import intervals
import results
import server as servers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headline import Variant


def rows(
    variants: Sequence[Variant], mixes: Sequence[str], server: str, *, rounds: int, workers: int
) -> Iterator[dict[str, Any]]:
    """Run all in turn, and yield a row for each mix and variant."""
    _, loadfile, worksteal = headline.modes(workers)
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(rounds):
        for mix in mixes:
            with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
                folder = Path(temporary)
                headline.generate(folder, headline.TESTS, mix)
                for variant in variants:
                    order = (loadfile, worksteal) if number % 2 else (worksteal, loadfile)
                    times = {
                        mode.name: headline.run(folder, variant, mode, server)[0] for mode in order
                    }
                    pair = times[loadfile.name], times[worksteal.name]
                    taken.setdefault((mix, variant.name), []).append(pair)
                    print(f"{mix}, {variant.name}: {pair[0]:.1f} s, {pair[1]:.1f} s", flush=True)
    for (mix, variant_name), pairs in taken.items():
        ratios = [steals / whole - 1 for whole, steals in pairs]
        yield {
            "mix": mix,
            "variant": variant_name,
            "workers": workers,
            "loadfile_seconds": round(statistics.median(whole for whole, _ in pairs), 2),
            "worksteal_seconds": round(statistics.median(steals for _, steals in pairs), 2),
            "longer": [round(each, 4) for each in intervals.median(ratios)],
            "rounds": len(pairs),
        }


def line(row: Mapping[str, Any]) -> str:
    """Render a row."""
    low, middle, high = (f"{each:+.1%}".replace("%", " %") for each in row["longer"])
    return (
        f"| {row['mix']} | {row['variant']} | {row['workers']} | {row['loadfile_seconds']:.1f} "
        f"| {row['worksteal_seconds']:.1f} | {middle} ({low} to {high}) | {row['rounds']} |"
    )


HEAD: Final = """\
| mix | isolation | workers | loadfile, s | worksteal, s | longer (95 %) | rounds |
|---|---|---:|---:|---:|---:|---:|"""


def table(result: results.Result) -> str:
    """Render all that was found."""
    return "\n".join([HEAD, *map(line, sorted(result.rows, key=headline.place))])


def main() -> None:
    """Measure, print the table and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="pairs of runs of each")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of pytest-xdist")
    parser.add_argument("--mixes", nargs="+", default=headline.MIXES, choices=headline.MIXES)
    parser.add_argument(
        "--only", nargs="+", default=["no iso", "db-testing"], metavar="TEXT", help="as in headline"
    )
    options = parser.parse_args()
    with servers.own() as server:
        found = list(
            rows(
                headline.variants_named(options.only),
                options.mixes,
                server.url,
                rounds=options.rounds,
                workers=options.workers,
            )
        )
    result = results.made("distribution", found, key=("mix", "variant", "workers"))
    print(f"\n{table(result)}\n\nwritten to {result.write()}")


if __name__ == "__main__":
    main()
