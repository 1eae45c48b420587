"""What the patch for asyncpg saves each connection: its first statement that has an array.

    moon run benchmarks:upstream -- [--connections 100]

A process with the asyncpg that is installed and one with a copy that has
`docs/explanation/upstream/asyncpg-built-in-arrays.patch` open connections in turn, and execute
`SELECT $1::int4[]` on each, after `SELECT 1`. Reported are the median and the quartiles of that
second statement. What was found replaces `results/upstream.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import asyncpg
import results
import server as servers
from sqlalchemy import make_url

PATCH: Final = (
    Path(__file__).parents[1]
    / "docs"
    / "explanation"
    / "upstream"
    / "asyncpg-built-in-arrays.patch"
)
TIMEOUT: Final = 120.0
"""Seconds that a block of connections may take."""
BLOCK: Final = 10
"""Connections of one process, before it is the other's turn."""


def patched(folder: Path) -> Path:
    """Copy the asyncpg that is installed into a folder, apply the patch, and return the folder."""
    shutil.copytree(Path(asyncpg.__file__).parent, folder / "asyncpg")
    subprocess.run(["git", "apply", PATCH], cwd=folder, check=True, timeout=TIMEOUT)  # noqa: S607
    return folder


async def first_statements(url: str, connections: int) -> list[float]:
    """Return the seconds of the statement, on each of some new connections."""
    taken = []
    for _ in range(connections):
        connection = await asyncpg.connect(url)
        await connection.fetchval("SELECT 1")
        start = time.perf_counter()
        await connection.fetchval("SELECT $1::int4[]", [1])
        taken.append(time.perf_counter() - start)
        await connection.close()
    return taken


def block(url: str, folder: Path | None) -> list[float]:
    """Have a process of its own measure a block, with the asyncpg in a folder if one is given."""
    environment = os.environ | ({} if folder is None else {"PYTHONPATH": str(folder)})
    said = subprocess.run(
        [sys.executable, __file__, "--block", url],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT,
    )
    return [float(line) for line in said.stdout.split()]


def measure(url: str, connections: int) -> list[dict[str, Any]]:
    """Return a row for each of the two."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        ways = {"as released": None, "with the patch": patched(Path(temporary))}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(0, connections, BLOCK):
            for name, folder in ways.items():
                taken[name] += block(url, folder)
    rows = []
    for name, seconds in taken.items():
        least, median, most = (each * 1e3 for each in statistics.quantiles(seconds, n=4))
        rows.append(
            {
                "asyncpg": name,
                "connections": len(seconds),
                "ms": round(median, 2),
                "quartiles_ms": [round(least, 2), round(most, 2)],
            }
        )
    return rows


def table(result: results.Result) -> str:
    """Render what was found."""
    lines = ["| asyncpg | ms | quartiles |", "|---|---:|---:|"]
    for row in result.rows:
        least, most = row["quartiles_ms"]
        lines.append(f"| {row['asyncpg']} | {row['ms']:.2f} | {least:.2f} to {most:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--connections", type=int, default=100, help="new connections of each")
    parser.add_argument("--block", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.block:
        print(*asyncio.run(first_statements(options.block, BLOCK)), sep="\n")
        return
    with servers.own() as server:
        url = make_url(server.url).set(drivername="postgresql")
        rows = measure(url.render_as_string(hide_password=False), options.connections)
    result = results.made("upstream", rows, key=("asyncpg",))
    print(f"{table(result)}\nwritten to {result.write()}")


if __name__ == "__main__":
    main()
