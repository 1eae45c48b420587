"""The project's own pytest, asked in a process of its own by the plugin `_probe`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from .. import _settings
from .._plugin import _probe
from ..errors import SuiteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

TIMEOUT: Final = 600.0
"""Seconds within which pytest must say what it does."""

PATIENCE: Final = 15.0
"""Seconds for an interrupted pytest to drop its databases."""

SHOWN: Final = 25
"""How many lines of pytest's output are shown when it has failed."""


@dataclass(slots=True)
class Answer:
    """What pytest has said."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    """What was done, by the place of the `db_schema`."""
    failures: dict[str, str] = field(default_factory=dict)
    """What could not be done, as pytest shows it."""
    done: bool = False
    """Whether it has said all."""

    def check(self) -> None:
        """Let what could not be done be an error.

        Raises:
            SuiteError: there was something.
        """
        if self.facts["errors"]:
            said = "\n".join(self.facts["errors"])
            raise SuiteError(
                f"tests cannot be collected:\n{said}\n"
                f"Mend it; pytest --collect-only shows the same."
            )
        if self.failures:
            raise SuiteError(
                "\n".join(f"the schema of {where}: {why}" for where, why in self.failures.items())
            )


def ask(
    arguments: Sequence[str] = (),
    *,
    work: str | None = None,
    argument: object = "",
    server: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Run pytest without its tests, with arguments of its own; `work` is done with each schema.

    `argument` is handed to the work.

    Raises:
        SuiteError: pytest does not get as far.
    """
    read, write = os.pipe()
    command = [sys.executable, "-m", "pytest", "-p", _probe.__name__, f"{_probe.PIPE}={write}"]
    command += [f"{_probe.WORK}={work}", f"{_probe.ARGUMENT}={argument}"] if work else []
    command += [_probe.CHOSEN] if server else []
    # As an argument everybody could read its password.
    chosen = {_settings.ENVIRONMENT_SERVER: server} if server else {}
    with tempfile.TemporaryFile("w+") as output, os.fdopen(read) as pipe:
        try:
            process = subprocess.Popen(
                [*command, "-q", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[write],
                process_group=0,  # a terminal's Ctrl-C is passed on once, below
                env=os.environ | {"NO_COLOR": "1"} | chosen,
            )
        finally:
            os.close(write)
        watched = _Watched(process)
        try:
            answer = _listen(watched.lines(pipe), progress)
            watched.wait()
        finally:
            watched.end()
        if watched.late:
            raise SuiteError(
                f"pytest, asked for what it finds, has said nothing for {TIMEOUT:g} s, and was "
                f"killed. Ask for less of it: name a folder of tests after --."
            )
        if not answer.done or process.returncode < 0:
            output.seek(0)
            lines = output.read().strip().splitlines()[-SHOWN:]
            said = "\n".join("    " + line for line in lines)
            raise SuiteError(
                f"pytest ended with exit code {process.returncode} before it was done:\n{said}\n"
                f"It was asked by {sys.executable}, in {os.getcwd()}. Mend what it says; `pytest "  # noqa: PTH109  # as the user sees it
                f"--collect-only` shows the same."
            )
    return answer


class _Watched:
    """A process that must go on, and end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.late = False

    def lines(self, pipe: IO[str]) -> Iterator[str]:
        """Read what it says, until it has said all."""
        while True:
            with self._bounded():
                line = pipe.readline()
            if not line.endswith("\n"):
                return
            yield line

    def wait(self) -> None:
        """Wait for its end."""
        with self._bounded():
            self._process.wait()

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        timer = threading.Timer(TIMEOUT, self._kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill(self) -> None:
        self.late = True
        self._process.kill()

    def end(self) -> None:
        """Let it tidy up, unless it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
            self._process.kill()
            self._process.wait()


def _listen(lines: Iterable[str], progress: Callable[[str], None]) -> Answer:
    answer = Answer()
    for line in lines:
        match json.loads(line):
            case {"facts": facts}:
                answer.facts = facts
            case {"progress": text}:
                progress(text)
            case {"result": result, "schema": where}:
                answer.results[where] = result
            case {"failure": text, "schema": where}:
                answer.failures[where] = text
            case {"done": True}:
                answer.done = True
            case other:
                raise AssertionError(other)
    return answer
