"""Connections that a test took from a pool and never gave back.

They are listed with the line that took them, and cut loose: SQLAlchemy would otherwise warn when
the garbage collector meets them, in whichever test runs by then.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event

from ._origin import caller

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

OWN: Final = __name__.partition(".")[0] + "."


def is_virtual(driver_connection: object) -> bool:
    """Tell whether a connection of a driver is one of the sandbox's."""
    return type(driver_connection).__module__.startswith(OWN)


class Checkouts:
    """The connections that the running test has taken from the pools of some engines."""

    def __init__(self) -> None:
        """Watch no engine yet."""
        self.watching = False
        """Whether what is taken now is the test's own, and not a wider fixture's."""
        self._out: dict[Any, tuple[weakref.ref[Any], str]] = {}
        self._detached: list[tuple[weakref.ref[Any], Any, str]] = []
        self._collected: list[str] = []
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

    def _checkout(self, connection: Any, record: Any, fairy: Any) -> None:
        del connection
        if self.watching:
            self._out[record] = weakref.ref(fairy), caller()

    def _checkin(self, connection: Any, record: Any) -> None:
        del connection
        self._out.pop(record, None)

    def _detach(self, connection: Any, record: Any) -> None:
        taken = self._out.pop(record, None)
        if taken is None:
            return
        fairy, line = taken
        if fairy() is None:
            # SQLAlchemy detaches what the garbage collector met, and has just warned of it.
            self._collected.append(line)
        else:
            self._detached.append((fairy, connection, line))

    def end(self) -> list[str]:
        """Cut loose what was not given back, and say what it was."""
        self.watching = False
        said = [
            f"the connection taken at {line} was lost to the garbage collector"
            for line in self._collected
        ]
        out, self._out = self._out, {}
        detached, self._detached, self._collected = self._detached, [], []
        for fairy_of, connection, line in detached:
            if not connection.driver_connection.is_closed():
                said.append(_say(connection.driver_connection, line, "was detached, never closed"))
                _cut_loose(fairy_of())
        for fairy_of, line in out.values():
            fairy = fairy_of()
            connection = getattr(fairy, "dbapi_connection", None)
            if connection is not None:
                said.append(_say(connection.driver_connection, line, "was never given back"))
                _cut_loose(fairy)
        return said


def _cut_loose(fairy: Any) -> None:
    """Let nobody return or collect a connection into the pool any more."""
    if fairy is None:
        return
    if is_virtual(fairy.dbapi_connection.driver_connection):
        # What still uses it is told by the sandbox that the test has ended.
        fairy.detach()
    else:
        # The real connection will be closed; whoever closes this one later does nothing.
        fairy.invalidate()


def _say(connection: Any, line: str, what: str) -> str:
    begun = getattr(connection, "current_transaction", None)
    if begun is not None:
        where = f", with the transaction begun at {begun.origin}"
    else:
        where = ", in a transaction" if connection.is_in_transaction() else ""
    return f"the connection taken at {line} {what}{where}"
