"""A server that only one benchmark uses: it alone is what the figures are about.

It is the embedded one, with a folder of its own, in memory where there is such a file system.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import place
import processes

from db_testing._server import _folders, _locks, _server

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    postmaster: int
    """The process that is the parent of all its others."""
    runner: asyncio.Runner
    connection: asyncpg.Connection[asyncpg.Record]

    def cpu(self) -> float:
        """Return the seconds that its processes have spent on a processor, those gone included."""
        return processes.cpu(self.postmaster)

    def memory(self) -> float:
        """Return the MB that its processes use, what they share divided among them (PSS)."""
        return sum(map(processes.memory, processes.family(self.postmaster)))

    def yardstick(self, number: int) -> list[float]:
        """Return the seconds of BEGIN and ROLLBACK on an open connection: the least there is."""

        async def measure() -> list[float]:
            times = []
            for _ in range(number):
                began = time.perf_counter()
                await self.connection.execute("BEGIN")
                await self.connection.execute("ROLLBACK")
                times.append(time.perf_counter() - began)
            return times

        return self.runner.run(measure())


@contextlib.contextmanager
def own() -> Iterator[Server]:
    """Start one, for this process and those it starts; nothing is left of it."""
    home = Path(
        tempfile.mkdtemp(prefix="dbt-", dir=_folders.MEMORY if _folders.MEMORY.is_dir() else None)
    )
    home.chmod(0o711)
    place.lead(home / "server")
    # A task that is cancelled gets this signal, and nothing must be left of it either.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    try:
        held = _server.acquire("embedded")
        try:
            url = held.url.render_as_string(hide_password=False)
            with asyncio.Runner() as runner:
                dsn = held.url.set(drivername="postgresql").render_as_string(hide_password=False)
                connection = runner.run(asyncpg.connect(dsn))
                stat = Path(f"/proc/{connection.get_server_pid()}/stat").read_text()
                parent = int(stat.rpartition(")")[2].split()[1])
                try:
                    yield Server(url, parent, runner, connection)
                finally:
                    runner.run(connection.close())
        finally:
            held.release()
            stopped(home / "server")
    finally:
        shutil.rmtree(home)
        signal.signal(signal.SIGTERM, before)


def stopped(home: Path) -> None:
    """Wait until the server in a folder, which nobody uses any more, has stopped."""
    for lock in home.glob("*/running"):
        with _locks.locked(lock, _locks.EXCLUSIVE):
            pass
