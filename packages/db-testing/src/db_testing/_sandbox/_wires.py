"""The wires of one database: opened on first use, replaced when lost, closed with their loops."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .._statements._catalog import Catalog
from ._runtime import Wire
from ._wire import LiveWire

if TYPE_CHECKING:
    from .._isolation._escapes import Watch
    from ._runtime import Lock, Loop, Runtime

Connect: TypeAlias = Callable[[], Awaitable[Wire]]

_END_PROCESSES: Final = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE pid = ANY ($1) AND datname = current_database() AND usename = current_user
"""


@dataclass(eq=False, slots=True)
class DatabaseState:
    """What is to be known of a database by every sandbox on it."""

    catalog: Catalog | None = None
    sequences_moved: bool = False
    """Whether the position of some sequence is not the template's."""
    discarded: list[int] = field(default_factory=list)
    """Server processes of wires that were cut off, which may still hold locks."""


class Wires:
    """A wire for each event loop, and the one that the running test uses."""

    def __init__(
        self, connect: Connect, state: DatabaseState, runtime: Runtime, watch: Watch | None
    ) -> None:
        """Open nothing yet."""
        self.connect = connect
        self.current: LiveWire | None = None
        """The one that the running test uses; None until it does."""
        self._state = state
        self._runtime = runtime
        self._watch = watch
        self._open: dict[Loop, LiveWire] = {}
        self._doors: weakref.WeakKeyDictionary[Loop, Lock] = weakref.WeakKeyDictionary()

    @property
    def loops(self) -> list[Any]:
        """The event loops on which a wire is open."""
        return list(self._open)

    @property
    def processes(self) -> list[int]:
        """The server processes of the wires."""
        return [live.pid for live in self._open.values()]

    async def use(self, loop: Loop) -> LiveWire:
        """Let the running test use a loop's wire, unless it has one; return the one it uses."""
        door = self._doors.get(loop)
        if door is None:
            door = self._doors[loop] = self._runtime.lock()
        async with door:
            if self.current is None:
                found = await self.on(loop)
                if self.current is None:  # else the loop of another thread was faster
                    self.current = found
        return self.current

    async def on(self, loop: Loop) -> LiveWire:
        """Return a loop's wire, on a database as the next test should find it."""
        live = self._open.get(loop)
        if live is None or live.wire.is_closed():
            live = self._open[loop] = await self._connect()
        elif live.catalog is not self._state.catalog:
            if self._state.catalog is None:
                self._state.catalog = await Catalog.read(live.wire)
            await live.adopt_catalog(self._state.catalog)
        if self._state.discarded:
            await self._end_discarded(live.wire)
        if self._state.sequences_moved:
            await live.catalog.restore_sequences(live.wire)
            self._state.sequences_moved = False
        return live

    async def _connect(self) -> LiveWire:
        wire = await self.connect()
        try:
            if self._state.discarded:
                await self._end_discarded(wire)
            if self._state.catalog is None:
                known = await self._watch.known(wire) if self._watch is not None else None
                self._state.catalog = await Catalog.read(wire, known)
            await self._state.catalog.prepare_reset(wire)
            if self._watch is not None:
                await self._watch.prepare(wire)
        except BaseException:
            wire.terminate()
            raise
        live = LiveWire(wire, self._state.catalog, self._runtime)
        if self._runtime.loops_end:
            live.guard = self._close_with_loop(live)
            await anext(live.guard)
        return live

    async def _end_discarded(self, wire: Wire) -> None:
        await wire.execute(_END_PROCESSES, self._state.discarded)
        self._state.discarded = []

    async def _close_with_loop(self, live: LiveWire) -> AsyncGenerator[None]:
        """Close the wire before its loop closes.

        A loop finalises the asynchronous generators that were started on it before it closes
        (`loop.shutdown_asyncgens()`: `asyncio.run` and every test runner do so); this is the one
        moment at which a connection can be closed properly whoever owns the loop.
        """
        try:
            yield
        finally:
            if self._open.get(live.loop) is live:
                del self._open[live.loop]
            if self.current is live:
                self._state.sequences_moved = True
            await live.close()

    def discard(self, live: LiveWire) -> None:
        """Cut a wire off. Its server process is ended before the next wire is used."""
        if self._open.get(live.loop) is live:
            del self._open[live.loop]
        if self.current is live:
            self.current = None
        self._state.discarded.append(live.pid)
        if not live.loop.is_closed():
            live.wire.terminate()
        # Positions of sequences survive the connection that moved them.
        self._state.sequences_moved = True

    async def close(self) -> None:
        """Close the running loop's wire."""
        live = self._open.pop(self._runtime.loop(), None)
        if live is self.current:
            self.current = None
        if live is not None and live.guard is not None:
            await live.guard.aclose()
        elif live is not None:
            await live.close()

    def cut_off(self) -> None:
        """Cut every wire off: the database is about to be replaced."""
        for live in self._open.values():
            if not live.loop.is_closed():
                live.wire.terminate()
        self._open.clear()
        self.current = None
        self._state.discarded.clear()
        self._state.sequences_moved = False
