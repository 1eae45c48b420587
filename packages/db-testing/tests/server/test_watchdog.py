"""The watchdog, with small scripts in the place of PostgreSQL."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from db_testing._server import _locks, _watchdog

from .conftest import eventually, ps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("measured")

READY = "echo 'LOG:  database system is ready to accept connections' >&2"
SERVER = (
    f"trap 'echo stopping >&2; exit' INT; echo first >&2; {READY}; while :; do sleep 0.01; done"
)


@dataclass
class Watched:
    """A watchdog, and the lease and lock files it knows."""

    folder: Path
    lease: int
    running: int
    process: subprocess.Popen[bytes] | None = None
    log_to: str | None = None
    """Where its log is instead of in the folder."""

    def start(self, script: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Start a watchdog of a shell script."""
        return self.start_command(["/bin/sh", "-c", script], stdout)

    def start_command(
        self, command: list[str], stdout: int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        """Start a watchdog of a command."""
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, _watchdog.__file__],
            stdin=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[self.running],
            stdout=stdout,
        )
        self.process = process
        order = {
            "command": command,
            "environment": {"PATH": os.defpath},
            "identity": {},
            "leases": str(self.folder / "leases"),
            "stays": str(self.folder / "stays"),
            "log": self.log_to or str(self.folder / "log"),
            "running": self.running,
        }
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()
        return process

    def release(self) -> None:
        """Give the only lease up."""
        fcntl.flock(self.lease, fcntl.LOCK_UN)

    @property
    def log(self) -> str:
        """What the watchdog has logged."""
        return (self.folder / "log").read_text()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Return files for a watchdog, whose lease is held."""
    lease = os.open(tmp_path / "leases", os.O_RDWR | os.O_CREAT)
    running = os.open(tmp_path / "running", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lease, fcntl.LOCK_SH)
    watched = Watched(tmp_path, lease, running)
    yield watched
    watched.release()
    if watched.process is not None:
        watched.process.terminate()
        watched.process.wait(30)
        if watched.process.stdout is not None:
            watched.process.stdout.close()
    os.close(lease)
    with contextlib.suppress(OSError):  # closed by the test
        os.close(running)


def answer(process: subprocess.Popen[bytes]) -> str:
    """Read everything that the watchdog says."""
    assert process.stdout is not None
    return process.stdout.read().decode()


def test_log_on_a_full_file_system(watched: Watched) -> None:
    """What it cannot write is lost, and nothing else: the server is that of others, too."""
    watched.log_to = "/dev/full"
    process = watched.start(SERVER)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    watched.release()
    assert process.wait(10) == 0


def test_ready_is_told_once_the_server_is(watched: Watched) -> None:
    """The starter hears one word, and then the end of the pipe while the server runs on."""
    process = watched.start(SERVER)
    assert answer(process) == "ready\n"
    assert process.poll() is None


def test_server_is_interrupted_when_the_last_lease_is_gone(watched: Watched) -> None:
    """SIGINT is PostgreSQL's fast shutdown: it does not wait for clients. All of it is logged."""
    process = watched.start(SERVER)
    assert answer(process) == "ready\n"
    watched.release()
    assert process.wait(30) == 0
    assert watched.log.startswith("first\n")
    assert watched.log.endswith("stopping\n")


def test_starter_hears_why_the_server_failed(watched: Watched) -> None:
    """The last lines of a server that never got ready are the answer."""
    process = watched.start("for n in $(seq 30); do echo line $n >&2; done; exit 1")
    assert answer(process).splitlines() == [f"line {number}" for number in range(10, 31)]
    assert process.wait(30) == 1


def test_starter_hears_that_there_is_no_program(watched: Watched) -> None:
    """A program that does not exist is named."""
    process = watched.start_command(["/nowhere/postgres"])
    assert "/nowhere/postgres" in answer(process)
    assert process.wait(30) == 1


def test_starter_that_died_is_no_reason_to_end(watched: Watched) -> None:
    """Somebody else may hold a lease by the time the server is ready."""
    read, write = os.pipe()
    process = watched.start(SERVER, stdout=write)
    os.close(read)
    os.close(write)
    log = watched.folder / "log"
    eventually("the server is ready", lambda: log.exists() and "ready" in watched.log)
    assert process.poll() is None
    watched.release()
    assert process.wait(30) == 0


def test_log_is_limited(watched: Watched) -> None:
    """A server that logs without end fills neither the disk nor the pipe."""
    line = "x" * 1000
    flood = f"{READY}; yes {line} | head -c 12000000 >&2; echo done > {watched.folder}/done"
    process = watched.start(flood)
    assert process.wait(60) == 0
    assert (watched.folder / "done").exists()
    assert len(watched.log) < _watchdog.LOG_LIMIT + 1000


def test_server_holds_the_lock_that_says_it_is_running(watched: Watched) -> None:
    """A server that outlives its watchdog for a moment keeps others off its data directory."""
    fcntl.flock(watched.running, fcntl.LOCK_EX)
    note = f"echo $$ > {watched.folder}/pid; trap '' INT QUIT"
    process = watched.start(f"{note}; {READY}; while :; do sleep 0.01; done")
    assert answer(process) == "ready\n"
    os.close(watched.running)
    server = int((watched.folder / "pid").read_text())
    try:
        process.kill()
        process.wait(30)
        assert _locks.take(watched.folder / "running", _locks.EXCLUSIVE) is None
    finally:
        os.kill(server, signal.SIGKILL)
    with _locks.locked(watched.folder / "running", _locks.EXCLUSIVE):
        assert not ps(server, "pid")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_server_ends_with_its_watchdog(watched: Watched, number: signal.Signals) -> None:
    """However the watchdog is ended, the server is as well."""
    note = f"echo $$ > {watched.folder}/pid; trap exit INT QUIT"
    script = f"{note}; {READY}; while :; do sleep 0.01; done"
    process = watched.start(script)
    assert answer(process) == "ready\n"
    server = int((watched.folder / "pid").read_text())
    assert ps(server, "pid")
    process.send_signal(number)
    process.wait(30)
    eventually("the server ends", lambda: not ps(server, "pid"))
