"""How long the applications' own suites take: as they are, and with the schema built for each test.

    moon run benchmarks:applications -- [--applications backend jobs] [--rounds 1]

Both run the same tests, one after the other: those that need nothing but db-testing's ordinary
fixtures. Left out are tests with data layers or an isolation of their own, and those of migrations.
With the schema built for each test, `schema_per_test.py` takes the place of db-testing's plugin,
and the applications' code, tests and fixtures stay as they are.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import results
import server as servers
import suites

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server import Server

ROOT: Final = Path(__file__).parents[1]
PATHS: Final[Mapping[str, str]] = {
    "backend": "apps/backend/tests/application",
    "jobs": "apps/jobs/tests",
}
VARIANTS: Final[Mapping[str, Sequence[str]]] = {
    "db-testing, rollback": ("-p", "db_testing"),
    "schema for each test": ("-p", "schema_per_test"),
}
COMMON: Final = (
    *("-p", "place", "-p", "asyncio", "-p", "timeout", "-p", "ordinary"),
    *("-q", "-W", "ignore", "-m", "not slow and not e2e"),
)


def run(path: str, options: Sequence[str], server: Server) -> tuple[float, int]:
    """Run a suite; return its seconds, and how many tests passed."""
    began = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", path, *COMMON, *options],
        cwd=ROOT,
        env=suites.environment(BENCHMARK_SERVER=server.url),
        capture_output=True,
        text=True,
        check=False,
    )
    taken = time.perf_counter() - began
    passed = re.search(r"(\d+) passed", ran.stdout)
    if ran.returncode or passed is None:
        sys.exit(f"{path} with {' '.join(options)} failed:\n{ran.stdout[-5000:]}{ran.stderr}")
    return taken, int(passed[1])


def everything(result: results.Result) -> str:
    """Render all that was found."""
    lines = ["| application | tests | isolation | s |", "|---|---:|---|---:|"]
    lines += [
        f"| {row['application']} | {row['tests']} | {row['isolation']} | {row['seconds']:.1f} |"
        for row in result.rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--applications", nargs="+", default=list(PATHS), choices=PATHS)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with servers.own() as server:
        for application in options.applications:
            for name, choice in VARIANTS.items():
                found = [run(PATHS[application], choice, server) for _ in range(options.rounds)]
                row = {
                    "application": application,
                    "isolation": name,
                    "tests": found[0][1],
                    "seconds": round(statistics.median(seconds for seconds, _ in found), 2),
                    "rounds": options.rounds,
                }
                print(row, flush=True)
                rows.append(row)
    for row in rows:
        if row["tests"] != rows[rows.index(row) // len(VARIANTS) * len(VARIANTS)]["tests"]:
            sys.exit(f"not the same tests were run: {rows}")
    result = results.made("applications", rows, key=["application", "isolation"])
    print(f"{everything(result)}\n\nwritten to {result.write()}")


if __name__ == "__main__":
    main()
