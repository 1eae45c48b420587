"""The connection on which databases are made and dropped.

It lives as long as the worker, on an event loop and a thread of its own, so that it never meets
the tests' loop. Advisory locks on it say that this process is alive: the server releases them
however it ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from .errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sqlalchemy.engine import URL

T = TypeVar("T")


def connect_options(url: URL) -> dict[str, Any]:
    """Translate a SQLAlchemy URL into the arguments of `asyncpg.connect`."""
    _, options = PGDialect_asyncpg().create_connect_args(url)
    return dict(options)


class Admin:
    """A session on the maintenance database, driven from synchronous code."""

    def __init__(self, url: URL) -> None:
        """Connect.

        Raises:
            ServerError: the server cannot be reached, or does not let this user in.
        """
        self.url = url
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="db-testing")
        self._loop = asyncio.new_event_loop()
        try:
            self._connection: asyncpg.Connection[asyncpg.Record] = self.run(self._connect)
        except BaseException:
            self._stop()
            raise

    async def _connect(self) -> Any:
        try:
            return await asyncpg.connect(
                **connect_options(self.url),
                timeout=15,
                server_settings={"application_name": f"db-testing process {os.getpid()}"},
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ServerError(
                f"cannot connect to {self.url.render_as_string(hide_password=True)}: "
                f"{str(error) or type(error).__name__}. Is the server running, and may this user "
                f"connect?"
            ) from error

    def run(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run a coroutine function on this connection's thread and wait for it."""
        return self._thread.submit(lambda: self._loop.run_until_complete(work(*args))).result()

    @property
    def connection(self) -> asyncpg.Connection[asyncpg.Record]:
        """The session; to be used inside :meth:`run` only."""
        return self._connection

    @property
    def server_version(self) -> int:
        """The server's major version."""
        return self._connection.get_server_version().major

    def close(self) -> None:
        """Disconnect, which releases every lock."""
        try:
            self.run(self._disconnect)
        finally:
            self._stop()

    async def _disconnect(self) -> None:
        try:
            await self._connection.close(timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()

    def _stop(self) -> None:
        self._thread.submit(self._loop.close).result()
        self._thread.shutdown()
