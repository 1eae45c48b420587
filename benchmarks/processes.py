"""What processes of a server use, also as told to a conftest.py, for which it imports little."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

TICK: Final = 1 / os.sysconf("SC_CLK_TCK")


def family(parent: int) -> list[int]:
    """Return a process and its children as of now."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [parent, *map(int, children.split())]


def cpu(parent: int) -> float:
    """Return the seconds that a family has spent on a processor, children gone included."""
    spent = 0.0
    for process in family(parent):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            spent += int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
    stat = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
    return spent + (int(stat[13]) + int(stat[14])) * TICK  # of children that were waited for


def memory(process: int) -> float:
    """Return the MB that a process uses, what it shares divided by the number who share it."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    message = f"/proc/{process}/smaps_rollup has no line Pss"
    raise LookupError(message)
