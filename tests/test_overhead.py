"""What `benchmarks/overhead.py` records of a peer is of one whose fixture did its work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
DELETES = "DELETE from every table in one script"
ALL = "DELETE from every table and setval of every sequence in one script"
LEAST = 16  # pairs that count, of the 20 that are run when there is no time


def overhead(folder: Path, kind: str, old: str, new: str) -> subprocess.CompletedProcess[str]:
    """Measure one peer by a copy of the benchmarks, some text of which is replaced."""
    for path in BENCHMARKS.glob("*.py"):
        text = path.read_text(encoding="utf-8").replace(old, new)
        (folder / path.name).write_text(text, encoding="utf-8")
    options = ["--pairs", "60", "--tables", "3", "--kinds", kind]
    return subprocess.run(
        [sys.executable, "overhead.py", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_takes_long_says_enough_with_fewer_pairs(tmp_path: Path) -> None:
    """When the time is up, the least number of pairs has run, and then the check."""
    ran = overhead(tmp_path, ALL, "BUDGET: Final = 8.0", "BUDGET: Final = 0.0")
    assert ran.returncode == 0, ran.stderr
    (row,) = json.loads((tmp_path / "results" / "overhead.json").read_text())["rows"]
    assert (row["isolation"], row["tables"], row["pairs"]) == (ALL, 3, LEAST)


@pytest.mark.parametrize(
    ("kind", "old", "new", "found"),
    [
        (DELETES, "DELETE FROM", "SELECT FROM", "['rows', 'sequences'] == ['sequences']"),
        (ALL, "SELECT setval(", "SELECT concat(", "['sequences'] == []"),
    ],
)
def test_what_undoes_less_than_it_says_is_not_recorded(
    tmp_path: Path, kind: str, old: str, new: str, found: str
) -> None:
    """A peer whose fixture leaves rows, or sequences where they are, ends the benchmark."""
    ran = overhead(tmp_path, kind, old, new)
    assert f"assert {found}" in ran.stderr
    assert ran.returncode != 0
    assert not (tmp_path / "results").exists()
