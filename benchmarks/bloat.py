"""Whether commit isolation stays as fast, and its database as small, over a long run.

    moon run benchmarks:bloat -- [--tests 20000] [--tables 50]

One suite in one process, on one database that is swept after each test. What is compared is the
first decile of the first thousand tests, of the last thousand, and of each thousand between.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path

import server as servers
import suites
from suites import Suite

THOUSAND = 1000
SIZE = """
import json
from sqlalchemy import text

@pytest.fixture(autouse=True)
async def size(request, db):
    yield
    number = request.node.callspec.params["number"]
    if number in (1000, int(os.environ["BENCHMARK_TESTS"]) - 1):
        query = text("SELECT pg_database_size(current_database())")
        with open("sizes.json", "a") as file:
            print((await db.execute(query)).scalar_one(), file=file)
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=20_000, help="tests in the suite")
    parser.add_argument("--tables", type=int, default=50, help="tables in its schema")
    options = parser.parse_args()

    suite = Suite(
        "commit", tests=suites.TESTS + SIZE, options=["-p", "db_testing", "--db-isolation=commit"]
    )
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary, servers.own() as server:
        folder = Path(temporary)
        found, _ = suites.in_turn(
            [suite], folder, server, tests=options.tests, tables=options.tables, budget=math.inf
        )
        blocks = found["commit"].blocks
        sizes = [json.loads(line) / 2**20 for line in (folder / "suite0/sizes.json").open()]

    if not blocks:
        sys.exit(1)
    times = [time for block in blocks for time in block.times]
    print("| tests | ms per test, first decile |")
    print("|---|---|")
    deciles = []
    for start in range(0, len(times) - THOUSAND // 2, THOUSAND):  # of those that count
        deciles.append(statistics.quantiles(times[start : start + THOUSAND], n=10)[0] * 1e3)
        print(f"| {start} to {start + THOUSAND} | {deciles[-1]:.2f} |")
    print(f"\nlast to first: {deciles[-1] / deciles[0]:.2f}")
    print(f"database: {sizes[0]:.1f} MiB after {THOUSAND} tests, {sizes[-1]:.1f} MiB at the end")


if __name__ == "__main__":
    main()
