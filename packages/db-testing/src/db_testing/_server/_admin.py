"""The connection on which databases are made and dropped.

It lives as long as the worker, on an event loop and a thread of its own, so that it never meets
the tests' loop. Advisory locks on it say that this process is alive: the server releases them
however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import quote

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from .._settings import OLDEST, hide_password
from ..errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from concurrent.futures import Future

    from sqlalchemy.engine import URL

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds for a server to become ready that says it is not yet."""

WIRE_ERRORS: Final = (
    TimeoutError,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What talking to a server can raise, or to one that has just gone."""

APPLICATION: Final = "db-testing process "
"""What the name of each process's session on the maintenance database begins with."""

_NOT_READY: Final = (
    asyncpg.CannotConnectNowError,
    # What it has just accepted is cut off by a server that recovers from the loss of a process,
    # and by a container's port as long as nothing listens inside.
    asyncpg.CrashShutdownError,
    asyncpg.ConnectionDoesNotExistError,
    ConnectionResetError,
    # As many as it allows; others come and go.
    asyncpg.TooManyConnectionsError,
)

_GONE: Final = (
    *_NOT_READY,
    asyncpg.AdminShutdownError,
    asyncpg.PostgresConnectionError,
    ConnectionError,
    FileNotFoundError,  # a unix socket
)


class Patience:
    """How long a server is waited for: one that was waited for in vain is not waited for again."""

    def __init__(self) -> None:
        """Wait, at first."""
        self._seconds = PATIENCE

    @contextlib.contextmanager
    def lent(self, vain: type[Exception] = Exception) -> Iterator[float]:
        """Return the seconds that connecting may take; `vain` is what says that they were over."""
        try:
            yield self._seconds
        except vain:
            self._seconds = 0.0
            raise
        self._seconds = PATIENCE


def first_line(error: BaseException) -> str:
    """Return what an error says, without the details that the server or psycopg puts beneath."""
    return str(error).partition("\n")[0] or type(error).__name__


async def connect(
    url: URL, *, patience: float | None = None, gone: bool = False, **options: Any
) -> asyncpg.Connection[asyncpg.Record]:
    """Connect to a server, waiting `patience` seconds for one that says it is not ready yet.

    None are :data:`PATIENCE`.
    That is a server that starts, as a container's does, recovers from the loss of a process, or
    has as many connections as it allows.
    With `gone` one that is not there is waited for too: it was, and somebody may be restarting it.
    """
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        try:
            return await asyncpg.connect(**({"timeout": 15} | options | connect_options(url)))
        except _GONE as error:
            if not (gone or isinstance(error, _NOT_READY)):
                raise
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.02)


async def called(connection: asyncpg.Connection[asyncpg.Record]) -> str:
    """Return what a server says that it is, which need not be PostgreSQL."""
    try:
        return str(await connection.fetchval("SELECT version()"))
    except WIRE_ERRORS:
        return "PostgreSQL " + ".".join(map(str, connection.get_server_version()[:2]))


async def disconnect(
    connection: asyncpg.Connection[asyncpg.Record], *, patience: float = 2
) -> None:
    """Say goodbye to a server, or hang up if it does not answer within `patience` seconds."""
    try:
        await connection.close(timeout=patience)
    except WIRE_ERRORS:
        connection.terminate()


async def is_lost(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Tell whether a connection is of no use any more, which may not have been noticed yet."""
    try:
        await connection.execute("SELECT", timeout=PATIENCE)
    except WIRE_ERRORS:
        connection.terminate()
    return connection.is_closed()


def connect_options(url: URL) -> dict[str, Any]:
    """Translate a SQLAlchemy URL into the arguments of `asyncpg.connect`."""
    _, options = PGDialect_asyncpg().create_connect_args(url)
    return dict(options)


Place: TypeAlias = tuple[str, str, str]
"""The host, port and name of a database, as they were given."""


def place_of(options: Mapping[str, Any]) -> Place:
    """Name the database that arguments of a driver lead to."""
    name = options.get("database") or options.get("dbname")
    return str(options.get("host")), str(options.get("port")), str(name or "")


def url_for(driver: str, url: URL) -> URL:
    """Return the URL of the same database for another driver of SQLAlchemy's: `asyncpg` or not."""
    ours, theirs = ("ssl", "sslmode") if driver == "asyncpg" else ("sslmode", "ssl")
    if theirs in url.query:
        mode = url.query[theirs]
        url = url.difference_update_query([theirs]).update_query_dict({ours: mode})
    return url.set(drivername=f"postgresql+{driver}")


def url_with_host(url: URL) -> URL:
    """Return the URL of the same database for those who want a host in it, as pydantic does.

    A socket's folder and port stand behind the `?`, where SQLAlchemy and libpq read them. asyncpg
    reads them in the place of the host as well, and there alone if something stands there.
    """
    folder, port = url.query.get("host"), url.query.get("port")
    if not isinstance(folder, str) or not folder.startswith("/"):
        return url
    return url.set(host=quote(folder, safe=""), port=int(port) if isinstance(port, str) else None)


def libpq_url(url: URL) -> str:
    """Return a URL as PostgreSQL's own programs understand it, without its password."""
    url = url_for("psycopg", url).set(drivername="postgresql")._replace(password=None)
    return url.render_as_string(hide_password=False)


def _our_name() -> str:
    """Say which process this is, of which machine. The server cuts it at 63 bytes."""
    return f"{APPLICATION}{os.getpid()} on {platform.node()}"


def tell(line: str) -> None:
    """Print a line about what is being done."""
    sys.stderr.write(f"\ndb-testing: {line}\n")
    sys.stderr.flush()


class Admin:
    """A session on the maintenance database, driven from synchronous code."""

    def __init__(
        self,
        url: URL,
        *,
        say: Callable[[str], None] = tell,
        restart: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect. `say` prints a line about work that takes its time.

        `restart` is called when the server has gone, which it may start again.

        Raises:
            ServerError: the server cannot be reached, is too old, or does not let this user in.
        """
        self.url = url
        self.say = say
        self._restart = restart
        self.shown_url = hide_password(url.set(drivername="postgresql").render_as_string())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="db-testing", daemon=True
        )
        self._thread.start()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        try:
            self._connection = self.run(self._connect)
            self._check_version()
        except BaseException:
            self.close()
            raise

    def revive(self, *, patience: float | None = None) -> bool:
        """Connect again if the server has gone and come back; tell whether it had.

        The locks of the lost session are lost with it.

        Raises:
            ServerError: it has not come back.
        """
        lost = self.run(is_lost, self.connection)
        if lost:
            self._restart()
            self._connection = self.run(lambda: self._connect(patience, gone=True))
        return lost

    async def _connect(self, patience: float | None = None, *, gone: bool = False) -> Any:
        try:
            connection = await connect(
                self.url,
                patience=patience,
                gone=gone,
                server_settings={"application_name": _our_name()},
            )
            # A server of ours that recovers from the loss of a process has forgotten what it has
            # not written by then: the settings of a clone, or that it has been renamed.
            with contextlib.suppress(asyncpg.PostgresError):  # others need not know of it
                await connection.execute("SET synchronous_commit = local")
        except asyncpg.TooManyConnectionsError as error:
            raise ServerError(
                f"no connection to {self.shown_url} was to be had for {PATIENCE:g} s: {error}. Let "
                f"fewer test processes run at the same time, or raise the limit that it names."
            ) from error
        except WIRE_ERRORS as error:
            raise ServerError(
                f"cannot connect to {self.shown_url}: {str(error) or type(error).__name__}. Is the "
                f"server running, and may this user connect?"
            ) from error
        except (TypeError, ValueError, AttributeError) as error:
            raise ServerError(
                f"cannot connect to {self.shown_url}: asyncpg does not understand an option of "
                f"this URL ({error}). What follows the ? must be arguments of asyncpg.connect(). "
                f"The files of TLS are named by PGSSLROOTCERT, PGSSLCERT and PGSSLKEY."
            ) from error
        return connection

    def _check_version(self) -> None:
        if self.server_version < OLDEST:
            raise ServerError(
                f"the server {self.shown_url} is PostgreSQL {self.server_version}, and db-testing "
                f"needs {OLDEST} or later. It calls itself {self.run(called, self.connection)!r}. "
                f"Use another server, or the embedded one."
            )

    def run(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run a coroutine function on this connection's thread and wait for it.

        Raises:
            ServerError: the connection is lost.
        """
        future = asyncio.run_coroutine_threadsafe(work(*args), self._loop)
        try:
            return future.result()
        except BaseException as error:
            future.cancel()  # Ctrl-C interrupts this thread alone
            if self._connection is None or not self._connection.is_closed():
                raise
            raise ServerError(
                f"the connection to {self.shown_url} is lost ({error}). Was the server stopped?"
            ) from error

    def begin(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> Future[T]:
        """Begin a coroutine function on this connection's thread, as far as it does not wait."""
        waits = threading.Event()
        future = asyncio.run_coroutine_threadsafe(work(*args), self._loop)
        # A turn of the loop after it has been made a task, which runs in that turn.
        self._loop.call_soon_threadsafe(self._loop.call_soon, waits.set)
        waits.wait()
        return future

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the session's thread."""
        return self._loop

    @property
    def connection(self) -> asyncpg.Connection[asyncpg.Record]:
        """The session; to be used inside :meth:`run` only."""
        assert self._connection is not None  # noqa: S101  # from __init__ to close()
        return self._connection

    @property
    def server_version(self) -> int:
        """The server's major version."""
        return self.connection.get_server_version().major

    def close(self) -> None:
        """Disconnect, which releases every lock."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                self.run(lambda: disconnect(connection, patience=5))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
