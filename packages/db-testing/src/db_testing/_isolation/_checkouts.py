"""Connections that a test took from a pool and never gave back.

They are listed with the line that took them, and cut loose: SQLAlchemy would otherwise warn when
the garbage collector meets them, in whichever test runs by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import event

from .._origin import awaiting

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

VIRTUAL: Final = [
    f"{__name__.partition('.')[0]}._sandbox.{name}" for name in ("_virtual", "_psycopg")
]
"""The modules whose connections are the sandbox's; they may not have been imported."""


def is_virtual(driver_connection: object) -> bool:
    """Tell whether a connection of a driver is one of the sandbox's."""
    return type(driver_connection).__module__ in VIRTUAL


class _Taken(NamedTuple):
    """A connection that was taken from a pool."""

    fairy: weakref.ref[Any]
    line: str
    """Which took it."""
    loop: asyncio.AbstractEventLoop | None


class Checkouts:
    """The connections that the running test has taken from the pools of some engines."""

    def __init__(self) -> None:
        """Watch no engine yet."""
        self.watching = False
        """Whether what is taken now is the test's own, and not a wider fixture's."""
        self.taken = False
        """Whether anything has been taken since this was last set to false."""
        self._out: dict[Any, _Taken] = {}
        self._detached: list[tuple[_Taken, Any]] = []
        self._collected: list[str] = []
        self._ended: set[Any] = set()
        self._listening = contextlib.ExitStack()

    def watch(self, engine: Engine) -> None:
        """Watch an engine until closed; its pool may be recreated, and keeps its listeners."""
        pool = engine.pool
        for name in ("checkout", "checkin", "detach"):
            listener = getattr(self, f"_{name}")
            event.listen(pool, name, listener)
            self._listening.callback(event.remove, pool, name, listener)

    def close(self) -> None:
        """Watch no engine any more."""
        self._listening.close()

    @property
    def any(self) -> bool:
        """Whether something has not come back."""
        return bool(self._out or self._detached or self._collected)

    @property
    def loops(self) -> set[asyncio.AbstractEventLoop]:
        """The event loops on which something has not come back."""
        out = list(self._out.values())  # threads may take others meanwhile
        return {taken.loop for taken in out if taken.loop is not None}

    def _checkout(self, connection: Any, record: Any, fairy: Any) -> None:
        del connection
        self.taken = True
        if self.watching:
            loop = asyncio._get_running_loop()  # noqa: SLF001  # the public one raises
            self._out[record] = _Taken(weakref.ref(fairy), awaiting(), loop)

    def _checkin(self, connection: Any, record: Any) -> None:
        del connection
        self._out.pop(record, None)

    def _detach(self, connection: Any, record: Any) -> None:
        taken = self._out.pop(record, None)
        if taken is None:
            return
        if taken.fairy() is None:
            # SQLAlchemy detaches what the garbage collector met, and has just warned of it.
            self._collected.append(taken.line)
        else:
            self._detached.append((taken, connection))

    def ending(self, driver: Any) -> None:
        """Learn that the test has left a connection open, which is closed for it now."""
        if self._detached:
            self._ended.add(driver)

    def end(self) -> list[str]:
        """Cut loose what was not given back, and say what it was."""
        self.watching = False
        said = [
            f"the connection taken at {line} was lost to the garbage collector"
            for line in self._collected
        ]
        out, self._out = self._out, {}
        detached, self._detached, self._collected = self._detached, [], []
        for taken, connection in detached:
            driver = _driver(connection)
            if driver in self._ended or not _is_closed(driver):
                said.append(_say(driver, taken.line, "was detached, never closed"))
            _cut_loose(taken.fairy())
        self._ended.clear()
        for taken in out.values():
            fairy = taken.fairy()
            connection = getattr(fairy, "dbapi_connection", None)
            if connection is not None:
                said.append(_say(_driver(connection), taken.line, "was never given back"))
                _cut_loose(fairy)
        return said


def _cut_loose(fairy: Any) -> None:
    """Let nobody return or collect a connection into the pool any more."""
    if fairy is None or fairy.dbapi_connection is None:
        return
    driver = _driver(fairy.dbapi_connection)
    if is_virtual(driver):
        # What still uses it is told by the sandbox that the test has ended.
        fairy.detach()
    elif hasattr(driver, "is_closed") or driver.closed:
        # asyncpg's real connection will be closed, psycopg's has been, unless a thread is in the
        # middle of a statement on it. Whoever closes this one later does nothing.
        fairy.invalidate()


def _driver(connection: Any) -> Any:
    """Return the driver's own connection, which SQLAlchemy adapts only where it is asynchronous."""
    return getattr(connection, "driver_connection", connection)


def _is_closed(driver: Any) -> bool:
    closed: bool = driver.is_closed() if hasattr(driver, "is_closed") else driver.closed
    return closed


def _say(driver: Any, line: str, what: str) -> str:
    # psycopg's real connections have been closed by now, and tell nothing.
    begun = getattr(driver, "current_transaction", None) or getattr(driver, "current", None)
    if begun is not None:
        where = f", with the transaction begun at {begun.origin}"
    elif hasattr(driver, "is_in_transaction") and driver.is_in_transaction():
        where = ", in a transaction"
    else:
        where = ""
    return f"the connection taken at {line} {what}{where}"
