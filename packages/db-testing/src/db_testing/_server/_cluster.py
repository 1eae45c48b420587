"""The embedded server: its folder, who may start it, and the leases that keep it running.

Four files lock what happens in the folder, and the kernel releases each with its last holder:

- `leases`, shared, by everyone who uses the server; exclusively by the watchdog that stops it;
- `starting`, by the one who looks whether the server runs and starts it otherwise;
- `running`, by the watchdog and every process of the server, and by the initdb before it. While it
  is held, nobody else touches the data directory, even when the process that started all this is
  long dead.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from .. import _settings
from ..errors import ServerError
from . import _folders, _locks
from ._data_directory import ENVIRONMENT, INITDB, SUPERUSER, DataDirectory, indent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._binaries import Binaries
    from ._identity import Identity

PORT: Final = 5432
"""The number in its socket's name; it listens on no port."""

SOCKET_NAME: Final = f".s.PGSQL.{PORT}"
SOCKET_LIMIT: Final = 107 if sys.platform == "linux" else 103
"""Bytes that a unix socket's path may have."""

START_TIMEOUT: Final = 60.0
"""Seconds for a server to start, and to say whether it is up."""

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
    "max_prepared_transactions": "10",  # of tests under commit isolation
    # To ask which locks a test holds, as each reset does, takes a walk through the whole of both
    # tables. Few use this one; what one relation may have in it stays the default.
    "max_pred_locks_per_transaction": "10",
    "max_pred_locks_per_relation": "32",
    "shared_buffers": "64MB",
    "jit": "off",
    # What a connection that is not the sandbox's has committed is noticed by it.
    "track_commit_timestamp": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",  # the watchdog reads the log
    "log_destination": "stderr",
    "logging_collector": "off",
}

PROTOCOL: Final = 196608
"""Version 3.0 of PostgreSQL's protocol."""

CANNOT_CONNECT_NOW: Final = b"C57P03\0"
"""In the answer of a server that starts, recovers or stops."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The folder of an embedded server: its data, socket, log and locks."""

    folder: Path
    binaries: Binaries
    identity: Identity
    refused: tuple[str, ...] = ()
    """Better places for the folder, and why it is not there."""

    @classmethod
    def locate(cls, binaries: Binaries, identity: Identity, homes: Iterable[Path]) -> Cluster:
        """Take the first folder that can be used.

        Raises:
            ServerError: none can.
        """
        # What distributions build differs, in ways that their version does not tell.
        build = str(binaries.folder) if binaries.kind == _settings.SYSTEM else ""
        settings = json.dumps([binaries.version, build, INITDB, OPTIONS, identity.uid])
        name = f"{binaries.version}-{hashlib.sha256(settings.encode()).hexdigest()[:10]}"
        problems: list[str] = []
        for home in homes:
            cluster = cls(home / name, binaries, identity, tuple(problems))
            try:
                cluster._prepare()
            except OSError as error:
                problems.append(f"{home}: {error}")
            else:
                return cluster
        raise ServerError(
            f"the embedded server finds no folder for its data:\n{indent(problems)}\n"
            f"Make one of them usable, or set XDG_CACHE_HOME to a folder that is."
        )

    def _prepare(self) -> None:
        home = self.folder.parent
        _folders.check_room(home)
        self.identity.check_passage(home)
        address = os.fsencode(self.folder / "socket-01234567" / SOCKET_NAME)
        if len(address) > SOCKET_LIMIT:
            raise OSError(
                errno.ENAMETOOLONG,
                f"the path of the server's socket would have {len(address)} bytes, and a unix "
                f"socket's may have {SOCKET_LIMIT}",
                os.fsdecode(address),
            )
        for folder in (home, self.folder):
            # The server's user must pass through, and nobody else has business there.
            _folders.own(folder, 0o700 if self.identity.uid is None else 0o711)
        self.identity.check_passage(self.data)  # what was made on the way may be closed as well

    @property
    def data(self) -> Path:
        """The data directory."""
        return self._data.path

    @property
    def _data(self) -> DataDirectory:
        return DataDirectory(self.folder, self.binaries, self.identity)

    @property
    def socket_folder(self) -> Path:
        """What clients connect to: a link to the folder in which the server has its socket.

        Each start has a folder of its own. A server whose cluster somebody has removed under its
        feet removes its socket as it ends, and must not take that of the next one.
        """
        return self.folder / "socket"

    @property
    def log(self) -> Path:
        """What the server has written since it was last started."""
        return self.folder / "server.log"

    @property
    def leases(self) -> Path:
        """What everyone who uses the server holds a shared lock on."""
        return self.folder / "leases"

    @property
    def running(self) -> Path:
        """What is locked as long as there is a process of the server."""
        return self.folder / "running"

    @property
    def stays(self) -> Path:
        """What is there when this server, though nobody uses it, is not to stop."""
        return self.folder / "stays"

    @property
    def _socket(self) -> Path:
        return self.socket_folder / SOCKET_NAME

    def acquire(
        self, *, keepalive: float = 0, say: Callable[[str], None] | None = None
    ) -> contextlib.ExitStack:
        """Start the server unless it runs, and return the lease that keeps it running until closed.

        It stops as many seconds after the last lease as the last who took one has said. `say` is
        told, by whoever starts it, what a user should know of where its data lie.

        Raises:
            ServerError: it does not start.
        """
        with contextlib.ExitStack() as lease:
            lease.enter_context(_locks.locked(self.leases, _locks.SHARED))
            self.leases.write_text(f"{keepalive:g}")
            with _locks.locked(self.folder / "starting", _locks.EXCLUSIVE):
                turn = self._turn()
                if turn is not None:
                    try:
                        found = self._bring_up(turn)
                    finally:
                        os.close(turn)  # the server keeps the lock
                    for remark in found:
                        if say is not None:
                            say(remark)
            return lease.pop_all()

    def _turn(self) -> int | None:
        """Return the lock `running`, or nothing when there is a server that answers.

        Neither is to be had while one starts, recovers or stops.
        """
        deadline = time.monotonic() + _locks.TIMEOUT
        while not self.answers():
            turn = _locks.take(self.running, _locks.EXCLUSIVE)
            if turn is not None:
                return turn
            if time.monotonic() > deadline:
                raise _locks.timeout(self.running)
            time.sleep(_locks.PAUSE)  # it is one of two things that is waited for
        return None

    def answers(self) -> bool:
        """Begin a session, as far as the server's first word: only that shows that it is up."""
        words = b"".join(
            word.encode() + b"\0" for word in ("user", SUPERUSER, "database", "postgres", "")
        )
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(START_TIMEOUT)
            try:
                client.connect(str(self._socket))
                client.sendall(struct.pack("!ii", len(words) + 8, PROTOCOL) + words)
                answer = client.recv(1024)
            except OSError:
                return False
        return answer != b"" and CANNOT_CONNECT_NOW not in answer

    def _bring_up(self, turn: int) -> list[str]:
        """Start the server, and return what is to be said of its data."""
        _folders.prune(self.folder.parent, spare=self.folder)
        remarks = [self._data.discard_if_spoilt(), self._why_on_disk()]
        self._clean()
        found = self.data.exists()
        if not found:
            self._data.initialise(turn)
        try:
            self._start(turn)
        except ServerError:
            if not found:
                raise
            # Templates are all that is lost with a data directory that a crash has spoilt.
            self._data.initialise(turn)
            self._start(turn)
        return [remark for remark in remarks if remark is not None]

    def _why_on_disk(self) -> str | None:
        if not self.refused:
            return None
        return (
            f"the data of PostgreSQL lie on disk, in {self.folder}, where databases take longer to "
            f"make than in memory, because of {'; '.join(self.refused)}"
        )

    def _clean(self) -> None:
        """Remove what a killed server has left; another process may have its number by now."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self.stays.unlink(missing_ok=True)  # it was said of that one
        for old in self.folder.glob("socket*"):
            if old.is_symlink():
                old.unlink()
            else:
                shutil.rmtree(old, ignore_errors=True)
        place = self.folder / f"socket-{uuid.uuid4().hex[:8]}"
        _folders.own(place, 0o700, give=self.identity)
        self.socket_folder.symlink_to(place.name)

    def _start(self, turn: int) -> None:
        binaries = self.binaries.reachable_by(self.identity)
        options = OPTIONS | {"unix_socket_directories": str(self.socket_folder.resolve())}
        order = {
            "command": [
                str(binaries.folder / "postgres"),
                "-D",
                str(self.data),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            "environment": ENVIRONMENT,
            "identity": self.identity.popen_options(),
            "leases": str(self.leases),
            "stays": str(self.stays),
            "log": str(self.log),
            "running": turn,
        }
        watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", Path(__file__).with_name("_watchdog.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal is for the tests alone
            cwd="/",
            pass_fds=[turn],
        )
        assert watchdog.stdin is not None  # noqa: S101  # asked for above
        assert watchdog.stdout is not None  # noqa: S101
        with watchdog.stdout:
            # One that has failed already reads nothing, and its answer says why.
            with contextlib.suppress(BrokenPipeError):
                watchdog.stdin.write(json.dumps(order).encode())
                watchdog.stdin.close()
            answer = _first_answer(watchdog.stdout)
        if answer != "ready":
            watchdog.kill()
            watchdog.wait()
            raise ServerError(
                f"the embedded PostgreSQL did not start:\n{indent(answer.splitlines())}\n"
                f"Its log is {self.log}, its data directory {self.data}."
            )
        # Or `Popen` would warn that a process outlives it, which is what a watchdog is for.
        watchdog.returncode = 0


def _first_answer(pipe: IO[bytes]) -> str:
    """Read `ready`, or else everything until the pipe is closed."""
    deadline = time.monotonic() + START_TIMEOUT
    answer = b""
    while not answer.startswith(b"ready\n"):
        readable, _, _ = select.select([pipe], [], [], max(0, deadline - time.monotonic()))
        if not readable:
            answer += f"no answer within {START_TIMEOUT:g} s".encode()
            break
        chunk = os.read(pipe.fileno(), 65536)
        if not chunk:
            break
        answer += chunk
    return answer.decode(errors="replace").strip()
