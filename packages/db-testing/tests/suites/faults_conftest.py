"""An application's tests, whose server lies where FAULTS_HOME says, and what FAULT does."""

import multiprocessing
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from models import Base

from db_testing import Schema
from db_testing._server import _data_directory, _folders

HOME = Path(os.environ["FAULTS_HOME"])
if "FAULTS_LIMIT" in os.environ:
    limit = int(os.environ["FAULTS_LIMIT"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if "FAULTS_JUMP" in os.environ:  # else a server knows nothing of who has started it
    _data_directory.ENVIRONMENT.update(
        {name: os.environ[name] for name in os.environ if "FAKE" in name or name == "LD_PRELOAD"}
    )
if "FAULTS_ROOM" in os.environ:
    _folders.MEMORY = HOME.parent.parent  # type: ignore[misc]
    _folders.ROOM = int(os.environ["FAULTS_ROOM"])  # type: ignore[misc]
elif os.environ["FAULTS_HOME"]:
    _folders.in_memory = lambda: HOME


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    return Schema.from_metadata(Base.metadata)


def postmaster() -> int:
    (file,) = HOME.glob("*/data/postmaster.pid")
    return int(file.read_text().split()[0])


def watchdog() -> int:
    shown = subprocess.run(
        ["/bin/ps", "-o", "ppid=", "-p", str(postmaster())], capture_output=True, check=True
    )
    return int(shown.stdout)


def fork() -> None:
    process = multiprocessing.get_context("fork").Process(target=os.getpid)
    process.start()
    process.join()
    assert process.exitcode == 0
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def stop_and_resume() -> None:
    shown = subprocess.run(
        ["/bin/ps", "-o", "pid=", "--ppid", str(postmaster())], capture_output=True, check=True
    )
    pids = " ".join(
        [str(os.getpid()), str(watchdog()), str(postmaster()), *shown.stdout.decode().split()]
    )
    # As a container that is frozen: all at once, and nobody notices.
    subprocess.run(["/bin/sh", "-c", f"kill -STOP {pids}; sleep 2; kill -CONT {pids}"], check=True)


def kill_server(process: int) -> None:
    """Wait until the server has gone: a test must not find it still there."""
    gone = os.pidfd_open(postmaster())
    os.kill(process, signal.SIGKILL)
    assert select.select([gone], [], [], 30)[0]
    os.close(gone)


def jump() -> None:
    """Put the clock of this process and of the server, for which a library stands in."""
    before = time.time()
    Path(os.environ["FAKETIME_TIMESTAMP_FILE"]).write_text(os.environ["FAULTS_JUMP"])
    assert abs(time.time() - before) > 24 * 3600


@pytest.fixture
def fault() -> Callable[[], None]:
    """Return what the environment asks for."""
    return {
        "none": lambda: None,
        "full disk": lambda: None,
        "killed test process": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "killed worker": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "killed controller": lambda: os.kill(os.getppid(), signal.SIGKILL),
        "killed postmaster": lambda: kill_server(postmaster()),
        "killed watchdog": lambda: kill_server(watchdog()),
        "killed after its last statement": lambda: kill_server(postmaster()),
        "fork": fork,
        "stopped and resumed": stop_and_resume,
        "clock that jumps": jump,
    }[os.environ["FAULT"]]
