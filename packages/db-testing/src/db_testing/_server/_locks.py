"""Locks on files, which the kernel releases however their holders end.

A lock belongs to the open file, not to the process: a child that inherits the descriptor holds it
as well, and the lock is free when the last of them is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from ..errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT: Final = 60.0
"""Seconds to wait for a lock."""

PAUSE: Final = 0.005
"""Seconds between two attempts: the kernel has no lock with a time limit."""

SHARED: Final = fcntl.LOCK_SH
EXCLUSIVE: Final = fcntl.LOCK_EX


def take(path: Path, mode: int) -> int | None:
    """Return an open file that is locked, or nothing when somebody else has the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # somebody has tidied up meanwhile: it is nobody's file any more


@contextlib.contextmanager
def locked(path: Path, mode: int) -> Iterator[None]:
    """Hold a lock.

    Raises:
        ServerError: somebody else has held it for too long.
    """
    deadline = time.monotonic() + TIMEOUT
    while (descriptor := take(path, mode)) is None:
        if time.monotonic() > deadline:
            raise timeout(path)
        time.sleep(PAUSE)  # flock() itself waits without a bound
    try:
        yield
    finally:
        # Closing alone would leave the lock with a forked child of the tests.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def timeout(path: Path) -> ServerError:
    """Say who has held a lock for too long."""
    return ServerError(
        f"waited {TIMEOUT:g} s for the embedded server to be started or stopped by another "
        f"process, which holds the lock {path} ({_holders(path)}). End that process, and run the "
        f"tests again."
    )


def _holders(path: Path) -> str:
    found = holders(path)
    if found is None:
        return "lsof names it"
    return ", ".join(f"process {pid}" for pid in found) or "by now nobody"


def holders(path: Path) -> list[int] | None:
    """Return the processes that took a lock; None where the system does not tell (not Linux)."""
    with contextlib.suppress(OSError):
        inode = f":{path.stat().st_ino} "
        with open("/proc/locks") as table:  # noqa: PTH123  # no method of Path reads by line
            lines = [line.split() for line in table if inode in line and "->" not in line]
        return [int(fields[4]) for fields in lines]
    return None
