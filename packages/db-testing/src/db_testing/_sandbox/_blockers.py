"""Who holds the lock for which a statement of the sandbox's waits.

The server tells while the statement waits and forgets as soon as it has given up, so it is asked
meanwhile, from a connection of its own, once a statement takes suspiciously long: on the event loop
that the statement runs on, or, where a thread waits for it, on that of db-testing's own thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from .._server._admin import WIRE_ERRORS
from .._statements._statement_text import shorten

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._runtime import Wire

SUSPICION: Final = 2.0
"""Seconds after which a statement may be waiting for a lock; less than the `lock_timeout`."""

_BLOCKERS: Final = """
    SELECT blocker.pid, application_name, state, query
    FROM unnest(pg_blocking_pids($1)) AS blocker (pid) JOIN pg_stat_activity USING (pid)
"""


class Blockers:
    """What holds a lock that a wire's statement waits for."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Wire]],
        pid: int,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`connect` opens a connection, and `pid` is the process that runs the statements.

        They are looked for on a loop of another thread, or on the running one.
        """
        self.names: list[str] = []
        """The processes that had the lock of the last statement, when they were looked for."""
        self._connect = connect
        self._pid = pid
        self._elsewhere = loop is not None
        self._loop = loop or asyncio.get_running_loop()
        self._since: float | None = None
        """When the statement that runs has begun."""
        self._armed = False
        """Whether the loop will look at that."""
        self._asking: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        """Look for them should what happens meanwhile take long."""
        self.names = []
        self._since = time.monotonic()
        if not self._armed:  # a timer outlives most statements: setting one takes longer than they
            self._armed = True
            if self._elsewhere:
                self._loop.call_soon_threadsafe(self._look)
            else:
                self._loop.call_later(SUSPICION, self._look)

    def __exit__(self, *exc_info: object) -> None:
        self._since = None
        asking, self._asking = self._asking, None
        if asking is not None and self._elsewhere:
            self._loop.call_soon_threadsafe(asking.cancel)
        elif asking is not None:
            asking.cancel()

    def _look(self) -> None:
        since = self._since
        wait = 0.0 if since is None else since + SUSPICION - time.monotonic()
        if wait > 0:
            self._loop.call_later(wait, self._look)
            return
        self._armed = False
        if since is not None and self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())

    async def _ask(self) -> None:
        # What cannot be learnt leaves the server's own words.
        with contextlib.suppress(*WIRE_ERRORS):
            wire = await self._connect()
            try:
                rows = await wire.fetch(_BLOCKERS, self._pid, timeout=SUSPICION)
            finally:
                wire.terminate()
            self.names = [
                f"process {row['pid']} ({row['application_name'] or 'without a name'}, "
                f"{row['state']}, last statement: {shorten(row['query'])!r})"
                for row in rows
            ]
