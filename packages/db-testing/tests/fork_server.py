"""Processes that run pytest, forked from one that has imported what each of them needs.

Two thirds of what a small suite costs as a process are these imports. Neither db-testing nor a
plugin of pytest's is among them: each process loads those by itself, as pytest does it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

IMPORTED = (
    "pytest",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.orm",
    "asyncpg",
)
WITH_PLUGINS = [
    each
    for each in importlib.metadata.distributions()
    if each.entry_points.select(group="pytest11") and each.name != "Faker"  # of a thousand files
]
"""All that a run of pytest looks for among a hundred distributions, twice."""

SIZE = 1 << 17
"""Bytes that a request has at most, environment included."""


@dataclass
class Forked:
    """What `pytester.run` uses of a `Popen`."""

    arguments: Sequence[str]
    pid: int
    answers: socket.socket
    stdin: None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code."""
        self.answers.settimeout(timeout)
        try:
            code = int(self.answers.recv(SIZE))
        except TimeoutError:
            raise subprocess.TimeoutExpired(self.arguments, timeout or 0) from None
        except BaseException:
            self.kill()  # or the next process would wait for this one
            raise
        self.answers.close()
        return code

    def kill(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class ForkServer:
    """The process that forks, for as long as this is entered."""

    def __enter__(self) -> Self:
        """Start it, and do not wait for it."""
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self._requests.close()
        self._process.wait(30)

    def run_pytest(self, arguments: Sequence[str], stdout: IO[str], stderr: IO[str]) -> Forked:
        """Start pytest in this process's folder, with its environment, as `pytester` does."""
        folder = str(Path.cwd())
        path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
        request = json.dumps([*arguments, dict(os.environ) | {"PYTHONPATH": path}, folder])
        answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, Path(os.devnull).open() as stdin:
            files = [each.fileno() for each in (stdin, stdout, stderr, theirs)]
            socket.send_fds(self._requests, [request.encode()], files)
        return Forked(arguments, int(answers.recv(SIZE)), answers)


def serve(requests: socket.socket) -> tuple[bytes, list[int]]:
    """Fork for each request, and tell number and exit code; return the request in the child."""
    while True:
        request, files, _, _ = socket.recv_fds(requests, SIZE, 4)
        if not request:
            sys.exit()
        child = os.fork()
        if not child:
            requests.close()
            return request, files
        for file in files[:3]:
            os.close(file)
        with socket.socket(fileno=files[3]) as answers, contextlib.suppress(BrokenPipeError):
            answers.send(b"%d" % child)
            _, status = os.waitpid(child, 0)
            answers.send(b"%d" % os.waitstatus_to_exitcode(status))


def main() -> None:
    """Import, serve, and in each child be `python -m pytest`."""
    for module in IMPORTED:
        importlib.import_module(module)
    importlib.metadata.distributions = lambda **_: iter(WITH_PLUGINS)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the process that has started it
    request, files = serve(socket.socket(fileno=int(sys.argv[1])))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for standard, file in enumerate(files[:3]):
        os.dup2(file, standard)
    for file in files:
        os.close(file)
    *arguments, environment, folder = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    sys.path[:1] = [folder, *environment["PYTHONPATH"].split(os.pathsep)]
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
