"""Embedded servers of the tests' own, apart from the one that the machine's test runs share."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import trustme

from db_testing._server import _binaries, _data_directory, _folders, _locks, _server
from db_testing._server._admin import Admin
from db_testing._server._binaries import Binaries
from db_testing._server._cluster import Cluster
from db_testing._server._identity import Identity

from .proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOUND = 30.0
"""Seconds within which anything must have happened."""

PASSWORD = "p@ss/w:rd%#?&"
OTHERS = sorted({*_binaries._on_path(), *_binaries._installed()})

HOLDER = Path(__file__).with_name("holder.py")

collect_ignore = [] if os.geteuid() == 0 else ["test_root.py"]


def eventually(what: str, happened: Callable[[], object]) -> None:
    """Wait for something that no handle tells about."""
    deadline = time.monotonic() + BOUND
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {BOUND:g} s: {what}")
        time.sleep(0.01)  # between two looks


def ps(pid: int, column: str) -> str:
    """Return what the system says about a process, or nothing when it has ended."""
    command = ["ps", "-o", f"stat=,{column}=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return "" if not shown or shown[0].startswith("Z") else shown[1]


@dataclass
class Embedded:
    """A cluster, and everything that the test has begun with it."""

    cluster: Cluster
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def home(self) -> Path:
        """The folder in which the cluster's own lies."""
        return self.cluster.folder.parent

    def acquire(self) -> contextlib.ExitStack:
        """Take a lease in this process, which ends with the test at the latest."""
        return self.stack.enter_context(self.cluster.acquire())

    def connect(self) -> Admin:
        """Open a session, which ends with the test at the latest."""
        admin = Admin(_server.address(self.cluster))
        self.stack.callback(admin.close)
        return admin

    def query(self, sql: str) -> object:
        """Ask the server something."""
        admin = Admin(_server.address(self.cluster))
        try:
            return admin.run(admin.connection.fetchval, sql)
        finally:
            admin.close()

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start another process that takes a lease, and do not wait for it."""
        holder = subprocess.Popen(
            [sys.executable, HOLDER, self.home, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(holder)
        return holder

    def hold(self) -> subprocess.Popen[str]:
        """Start another process, and wait until it has a lease."""
        holder = self.begin()
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        return holder

    @property
    def postmaster(self) -> int:
        """The process number of the server."""
        return int((self.cluster.data / "postmaster.pid").read_text().splitlines()[0])

    @property
    def watchdog(self) -> int:
        """The process number of the server's watchdog."""
        return int(ps(self.postmaster, "ppid"))

    def stopped(self) -> bool:
        """Tell whether no process of the server is left."""
        free = _locks.take(self.cluster.folder / "running", _locks.EXCLUSIVE)
        if free is not None:
            os.close(free)
        return free is not None

    def wait_until_stopped(self) -> None:
        """Wait until no process of the server is left."""
        eventually("the server stops", self.stopped)

    def end(self) -> None:
        """End everything, and fail when the server does not stop by itself."""
        self.stack.close()
        for holder in self.started:
            holder.kill()
            holder.communicate()
        try:
            self.wait_until_stopped()
        except BaseException:
            with contextlib.suppress(OSError):
                os.kill(self.postmaster, signal.SIGKILL)
            raise
        finally:
            shutil.rmtree(self.home)


def copy_with_owners(source: Path, target: Path) -> None:
    """Copy a folder, which shutil would make ours."""
    subprocess.run(["/bin/cp", "-Rp", source, target], check=True)


def make_home() -> Path:
    """Make a folder whose path is short, and which the server's user can reach."""
    memory = _folders.MEMORY  # only faster
    room = memory.is_dir() and shutil.disk_usage(memory).free > _folders.ROOM
    folder = Path(tempfile.mkdtemp(prefix="dbt-", dir=memory if room else None))
    folder.chmod(0o711)
    return folder


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """Return PostgreSQL's programs."""
    return Binaries.find()


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Return what notes a row of the table."""

    def note(fault: str, *, first: str, left: str, after: str) -> None:
        record_property("fault", (fault, first, left, after))

    return note


@pytest.fixture
def home() -> Iterator[Path]:
    """Return a folder whose path is short, and which the server's user can reach."""
    folder = make_home()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def untouched(home: Path, binaries: Binaries) -> Iterator[Embedded]:
    """Return a cluster without a data directory."""
    embedded = Embedded(Cluster.locate(binaries, Identity.choose(), [home]))
    yield embedded
    embedded.end()


@pytest.fixture(scope="session")
def data_directory(binaries: Binaries) -> Iterator[Path]:
    """Return a data directory of a server that has stopped; to be copied."""
    folder = make_home()
    embedded = Embedded(Cluster.locate(binaries, Identity.choose(), [folder]))
    try:
        embedded.acquire()
        embedded.stack.close()
        embedded.wait_until_stopped()
        yield embedded.cluster.data
    finally:
        embedded.end()


@pytest.fixture
def embedded(untouched: Embedded, data_directory: Path) -> Embedded:
    """Return a cluster that has been used before; its server does not run."""
    copy_with_owners(data_directory, untouched.cluster.data)
    return untouched


@dataclass(frozen=True)
class External:
    """A server on a TCP port that asks for a password."""

    port: int

    def url(self, user: str = "boss", password: str = PASSWORD, rest: str = "") -> str:
        """Return its URL."""
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}{rest}"

    def admin(self, url: str) -> Admin:
        """Connect."""
        return Admin(_server.acquire(url).url)


def free_port() -> int:
    """Return a port that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module", params=["embedded", *OTHERS], ids=str)
def external(request: pytest.FixtureRequest, binaries: Binaries) -> Iterator[External]:
    """Start the embedded PostgreSQL, or another one of this machine, as a stranger would."""
    home, port, identity = make_home(), free_port(), Identity.choose()
    identity.give(home)
    embedded = request.param == "embedded"
    programs = binaries.reachable_by(identity).folder if embedded else request.param
    (home / "password").write_text(PASSWORD)
    (home / "password").chmod(0o644)
    options = {"env": _data_directory.ENVIRONMENT, "cwd": "/", **identity.popen_options()}
    flags = ["--auth=scram-sha-256", f"--pwfile={home}/password", "--username=boss", "--no-sync"]
    subprocess.run(
        [programs / "initdb", *flags, "--locale=C.UTF-8", "-D", home / "data"],
        check=True,
        capture_output=True,
        **options,
    )
    settings = {"port": port, "unix_socket_directories": "", "listen_addresses": "127.0.0.1"}
    command = [programs / "postgres", "-D", home / "data"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in settings.items())],
            stderr=log,
            **options,
        )
    try:
        eventually("the server starts", lambda: "ready to accept" in (home / "log").read_text())
        yield External(port)
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(home)


def encrypted_url(port: int, user: str = "boss", password: str = PASSWORD) -> str:
    """Return the URL of the proxy, whose certificate must be looked at."""
    url = External(port).url(user, password, rest="/postgres?sslmode=verify-full")
    return url.replace("127.0.0.1", "localhost")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Return an authority that clients trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "root.crt"))
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "root.crt"))
    return authority


@pytest.fixture
def proxy(external: External, authority: trustme.CA) -> Proxy:
    """Return the proxy, with a certificate of its own."""
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(certificate)
    return Proxy(external.port, certificate)
