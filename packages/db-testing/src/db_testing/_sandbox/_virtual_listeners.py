"""Those who listen to a virtual connection of asyncpg, and hear nothing of others on its wire."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._runtime import Wire
    from ._virtual import VirtualConnection

T = TypeVar("T")


class Listeners:
    """The listeners of one connection."""

    def __init__(self) -> None:
        # Sets that keep their order.
        self.logs: dict[Callable[..., Any], None] = {}
        self.queries: dict[Callable[..., Any], None] = {}
        self.terminations: dict[Callable[..., Any], None] = {}

    def overhear(
        self, connection: VirtualConnection, operation: Callable[[Wire], Awaitable[T]]
    ) -> Callable[[Wire], Awaitable[T]]:
        """Let the connection's listeners hear one operation of the wire that others share."""

        def relay(_: Any, message: Any) -> None:
            for callback in self.logs:
                _call(callback, connection, message)

        async def overheard(wire: Wire) -> T:
            loggers = list(self.queries)
            wire.add_log_listener(relay)
            for logger in loggers:
                wire.add_query_logger(logger)
            try:
                return await operation(wire)
            finally:
                wire.remove_log_listener(relay)
                for logger in loggers:
                    wire.remove_query_logger(logger)

        return overheard

    def terminated(self, connection: VirtualConnection) -> None:
        """Tell, once, that the connection is closed."""
        listeners, self.terminations = self.terminations, {}
        for callback in listeners:
            _call(callback, connection)


def _call(callback: Callable[..., Any], *args: Any) -> None:
    """Call a listener soon, as asyncpg does, be it a function or a coroutine function."""
    loop = asyncio.get_running_loop()
    if inspect.iscoroutinefunction(callback):
        task = loop.create_task(callback(*args))
        _LISTENING.add(task)
        task.add_done_callback(_LISTENING.discard)
    else:
        loop.call_soon(callback, *args)


_LISTENING: Final[set[asyncio.Task[Any]]] = set()
"""Listeners that run; the loop itself holds its tasks weakly."""
