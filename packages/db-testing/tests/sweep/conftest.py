"""Databases to be swept, on servers of the tests' own: as a superuser, and as a mere owner."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy.engine import URL

from db_testing._isolation._real import RealConnection
from db_testing._isolation._sweep import SINCE, Sweep
from db_testing._server import _binaries, _cluster, _data_directory, _folders
from db_testing._server._admin import Admin, connect, disconnect
from db_testing._server._binaries import Binaries
from db_testing._server._identity import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from db_testing._isolation._sweep import Connection, Swept

OTHERS = [
    folder
    for folder in sorted({*_binaries._on_path(), *_binaries._installed()})
    if Binaries(folder, _binaries._version(folder, Identity())).major >= SINCE
]
BOUND = 30.0
"""Seconds within which a server must have started."""

NUMBERS = itertools.count()

# Whatever a test can see of rows and positions, but for the order of the rows.
RELATIONS = """
    SELECT format('%I.%I', nspname, relname) AS name, relkind::text AS kind
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'm', 'S') AND relpersistence <> 't'
      AND nspname !~ '^pg_' AND nspname <> 'information_schema'
    ORDER BY 1
"""
OBJECTS = "SELECT oid::text || encode(lo_get(oid), 'hex') FROM pg_largeobject_metadata ORDER BY 1"


@pytest.fixture(scope="session", params=["embedded", *OTHERS], ids=str)
def server(request: pytest.FixtureRequest) -> Iterator[URL]:
    """Start the embedded PostgreSQL, or another one of this machine, with our settings."""
    with running(None if request.param == "embedded" else request.param) as url:
        yield url


@contextlib.contextmanager
def running(programs: Path | None = None, **changed: str) -> Iterator[URL]:
    """Run a server with our settings, but for some: the embedded PostgreSQL, or another one."""
    identity = Identity.choose()
    programs = programs or Binaries.find().reachable_by(identity).folder
    # In memory if there is room: each test makes a database, and a checkpoint with it.
    home = Path(
        tempfile.mkdtemp(prefix="dbt-", dir=_folders.MEMORY if _folders.MEMORY.is_dir() else None)
    )
    identity.give(home)
    options: dict[str, Any] = {
        "env": _data_directory.ENVIRONMENT,
        "cwd": "/",
        **identity.popen_options(),
    }
    command: list[str | Path] = [
        *(programs / "initdb", "--auth=trust", "--username=postgres", "--no-sync"),
        *("--encoding=UTF8", "--locale=C.UTF-8", "-D", home / "data"),
    ]
    subprocess.run(command, check=True, capture_output=True, **options)
    settings = _cluster.OPTIONS | {"unix_socket_directories": str(home)} | changed
    with (home / "log").open("w") as log:
        postgres = subprocess.Popen(
            [
                *(programs / "postgres", "-D", home / "data"),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            stderr=log,
            **options,
        )
    try:
        deadline = time.monotonic() + BOUND
        while "ready to accept" not in (home / "log").read_text():
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.01)  # between two looks
        url = URL.create(
            "postgresql+asyncpg", "postgres", database="postgres", query={"host": str(home)}
        )
        admin = Admin(url)
        admin.run(admin.connection.execute, "CREATE ROLE owner LOGIN CREATEDB")
        admin.close()
        yield url
    finally:
        postgres.terminate()
        postgres.wait(BOUND)
        shutil.rmtree(home)


class Database:
    """A database that is swept, and a connection on which an application would work."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin
        self.url = admin.url.set(database=f"swept_{next(NUMBERS)}")
        admin.run(
            admin.connection.execute, f"CREATE DATABASE {self.url.database} STRATEGY file_copy"
        )
        self.connections: list[Connection] = []
        self.connection, self.other = self.connect(), self.connect()
        self.sweep = Sweep(admin, self.url)

    def connect(self) -> Connection:
        """Open a connection, which ends with the test at the latest."""
        connection = self.admin.run(
            lambda: connect(
                self.url, connection_class=RealConnection, server_settings={"lock_timeout": "50ms"}
            )
        )
        self.connections.append(connection)
        return connection

    def execute(self, *statements: str) -> None:
        """Execute statements, each in a transaction of its own."""
        for statement in filter(None, statements):
            self.admin.run(self.connection.execute, statement)

    def content(self) -> dict[str, list[str]]:
        """Return what there is: rows, positions of sequences, large objects."""
        found = {"large objects": self._column(OBJECTS)}
        for name, kind in self.admin.run(self.connection.fetch, RELATIONS):
            if kind == "S":
                found[name] = self._column(f"SELECT ROW(last_value, is_called)::text FROM {name}")
            else:
                found[name] = self._column(f"SELECT r::text FROM ONLY {name} AS r ORDER BY 1")
        return found

    def _column(self, query: str) -> list[str]:
        return [row[0] for row in self.admin.run(self.connection.fetch, query)]

    def run(self) -> Swept:
        """Make the connections as new, and sweep."""
        self.start()
        return self.sweep.finish()

    def start(self, *more: Connection) -> None:
        """Let the sweep begin; it believes that more connections are ours."""
        ours = [self.connection, self.other]
        for connection in ours:
            assert self.admin.run(cast("RealConnection", connection).renewed)
        self.sweep.start([connection.get_server_pid() for connection in [*ours, *more]])

    def drop(self) -> None:
        """Leave nothing."""
        self.sweep.close()
        for connection in self.connections:
            if not connection.is_closed():
                self.admin.run(disconnect, connection)
        self.admin.run(
            self.admin.connection.execute,
            f"DROP DATABASE IF EXISTS {self.url.database} WITH (FORCE)",
        )


@pytest.fixture(params=["postgres", "owner"])
def role(request: pytest.FixtureRequest) -> str:
    """Return who sweeps: a superuser, or the owner of everything."""
    name: str = request.param
    return name


@contextlib.contextmanager
def empty_database(server: URL, role: str) -> Iterator[Database]:
    """Make an empty database, and leave nothing of it."""
    admin = Admin(server.set(username=role))
    database = Database(admin)
    try:
        yield database
    finally:
        database.drop()
        admin.close()


@pytest.fixture
def database(server: URL, role: str) -> Iterator[Database]:
    """Return an empty database."""
    with empty_database(server, role) as empty:
        yield empty
