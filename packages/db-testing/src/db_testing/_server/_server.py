"""Where PostgreSQL comes from: a server of our own, or a URL.

A server of our own is one per user of the machine, PostgreSQL build and settings. Whoever comes
first starts it; every worker of every run holds a lease; when the last lease is gone, the server's
watchdog stops it. Its folder stays, and with it the templates.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .. import _settings
from ..errors import ServerError
from . import _folders
from ._binaries import Binaries
from ._cluster import PORT, Cluster
from ._data_directory import SUPERUSER
from ._identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import URL


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server on which databases may be created."""

    _url: Callable[[], URL]
    description: str
    _lease: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _acquire: Callable[[], contextlib.ExitStack] = contextlib.ExitStack

    @property
    def url(self) -> URL:
        """The URL of its maintenance database."""
        return self._url()

    def restart(self) -> None:
        """Start one of our own again, if it has been killed.

        Raises:
            ServerError: it does not start.
        """
        self._lease.enter_context(self._acquire())

    def release(self) -> None:
        """Give the server up. An embedded one stops when nobody holds it any more."""
        self._lease.close()


def describe(server: str) -> str:
    """Say which server a run will use, without starting it, and without a password.

    Raises:
        ServerError: there are no programs of PostgreSQL's on this machine that can be used.
    """
    if not _settings.OWN_SERVER.fullmatch(server):
        return re.sub(r"^[^:]*:", "postgresql:", _settings.hide_password(server))
    return Binaries.find(server).describe()


def acquire(
    server: str, *, keepalive: float = 0, say: Callable[[str], None] | None = None
) -> Server:
    """Make a server available to this process until it releases it or dies.

    One of our own stops `keepalive` seconds after that, unless others use it. `say` is told what a
    user should know of where its data lie.

    Raises:
        ServerError: it cannot be found or started.
    """
    if not _settings.OWN_SERVER.fullmatch(server):
        url = _external(server)
        return Server(lambda: url, describe(server))
    cluster = own(server)
    again = functools.partial(cluster.acquire, keepalive=keepalive, say=say)
    at = functools.partial(address, cluster)
    return Server(at, cluster.binaries.describe(), again(), again)


class Ahead:
    """A server of our own that is made available while others import what they need."""

    def __init__(self, server: str, *, keepalive: float = 0) -> None:
        """Begin to make it available to this process: see :func:`acquire`."""
        self._again = functools.partial(acquire, server, keepalive=keepalive)
        self._said: list[str] = []
        self._say: Callable[[str], None] = self._said.append
        self._process = os.getpid()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="db-testing-ahead")
        self._server = self._thread.submit(self._again, say=self._tell)
        self._thread.shutdown(wait=False)  # it ends when the server is there

    def _tell(self, line: str) -> None:
        self._say(line)

    def take(self, say: Callable[[str], None]) -> Server:
        """Return it when it is there.

        Raises:
            ServerError: as :func:`acquire`.
        """
        if self._process != os.getpid():
            return self._again(say=say)  # a fork has none of the threads
        server = self._server.result()
        self._say = say
        for line in self._said:
            say(line)
        return server

    def release(self) -> None:
        """Give it up when it is there, whoever has taken it."""
        if self._process != os.getpid():
            return
        self._thread.shutdown()
        if self._server.exception() is None:
            self._server.result().release()


def own(server: str) -> Cluster:
    """Return where a server of our own has its data, without starting it.

    Raises:
        ServerError: there are no programs for it, or no folder.
    """
    identity = Identity.choose()
    homes = (_folders.in_memory(), *_folders.on_disk(identity))
    return Cluster.locate(Binaries.find(server), identity, homes)


def url_of(server: str) -> URL:
    """Return the URL of a server's maintenance database, whether it runs or not.

    Raises:
        ServerError: as :func:`own`, or the URL cannot be read.
    """
    return address(own(server)) if _settings.OWN_SERVER.fullmatch(server) else _external(server)


def address(cluster: Cluster) -> URL:
    """Return the URL of the maintenance database of a server of our own."""
    from sqlalchemy.engine import URL

    return URL.create(
        "postgresql+asyncpg",
        username=SUPERUSER,
        database="postgres",
        # Without the port drivers would take PGPORT's.
        query={"host": str(cluster.socket_folder), "port": str(PORT)},
    )


def _external(server: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    from ._admin import url_for

    try:
        url = _with_socket(url_for("asyncpg", make_url(server)))
    except (ArgumentError, ValueError):
        # Their text may show the password, and so may a traceback that they are part of.
        raise ServerError(
            f"the server's URL {_settings.hide_password(server)!r} cannot be read. It has the form "
            f"postgresql://user:password@host:5432/database, with %40 for @, %2F for / and %25 for "
            f"% in user and password."
        ) from None
    return url if url.database else url.set(database="postgres")


def _with_socket(url: URL) -> URL:
    """Move a socket's folder to where SQLAlchemy's drivers look for one.

    Libpq takes it, escaped, for the host.
    """
    folder = unquote(url.host or "")
    if not folder.startswith("/"):
        return url
    port = {} if url.port is None else {"port": str(url.port)}
    return url._replace(host=None, port=None).update_query_dict({"host": folder, **port})
