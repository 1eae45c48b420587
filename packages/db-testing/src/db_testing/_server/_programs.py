"""Programs that run on a database of the tests' server, and psql."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from .. import _settings
from . import _server
from ._admin import libpq_url
from ._binaries import Binaries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

COMMAND_NOT_FOUND: Final = 127  # as shells have it


def run_program(program: Sequence[str], *, server: str, database: str, variable: str) -> int:
    """Run a program on a database of a server of our own and return its exit code.

    Raises:
        ServerError: the server cannot be started, or refuses the database.
    """
    if os.environ.get(variable):
        return _supervise(program, os.environ)
    acquired = _server.acquire(server)
    try:
        url = _ensure(acquired, database)
        return _supervise(program, os.environ | {variable: url})
    finally:
        acquired.release()


def run_psql(server: str, database: str, arguments: Sequence[str]) -> int:
    """Run psql on a database and return its exit code; one of our own servers is started for it.

    Raises:
        ServerError: the server cannot be started, or its URL cannot be read.
    """
    acquired = _server.acquire(server)
    try:
        url = acquired.url.set(database=database)
        # No other user of the machine may read it, as a command line can be.
        password = {} if url.password is None else {"PGPASSWORD": url.password}
        return _supervise(
            [_psql(server), libpq_url(url), *arguments],
            os.environ | password,
            missing="Install PostgreSQL's client programs (on Debian: apt install "
            "postgresql-client).",
        )
    finally:
        acquired.release()


def _psql(server: str) -> str:
    """Return the server's own, or what PATH leads to."""
    if _settings.OWN_SERVER.fullmatch(server):
        own = Binaries.find(server).folder / "psql"
        if own.exists():
            return str(own)
    return "psql"


def _ensure(server: _server.Server, database: str) -> str:
    """Make the database unless it is there, and return its URL."""
    from ._admin import Admin, url_with_host

    admin = Admin(server.url)

    async def create() -> None:
        found = "SELECT true FROM pg_database WHERE datname = $1"
        if not await admin.connection.fetchval(found, database):
            await admin.connection.execute(f'CREATE DATABASE "{database}"')

    try:
        admin.run(create)
    finally:
        admin.close()
    url = url_with_host(server.url.set(database=database))
    return url.render_as_string(hide_password=False)


def _supervise(program: Sequence[str], environment: Mapping[str, str], *, missing: str = "") -> int:
    """Run a program to its end, passing on the signals that end this process."""
    try:
        child = subprocess.Popen(program, env=environment)
    except OSError as error:
        said = f"db-testing: cannot run {program[0]!r}: {error.strerror}"
        print(f"{said}. {missing}" if missing else said, file=sys.stderr)  # noqa: T201  # to a person at a terminal
        return COMMAND_NOT_FOUND

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        child.send_signal(number)

    # A terminal sends Ctrl-C to the program as well; the program decides what it means.
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, forward),
        signal.SIGHUP: signal.signal(signal.SIGHUP, forward),
    }
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code
