"""Walk as a new user does, in an environment with nothing of this workspace but the wheel.

    moon run docs:walk

A copy of `project`, whose conftest.py builds the schema for each test, is tested as it is, on the
server that its TEST_DATABASE_URL leads to. Then db-testing is installed and asked, as the page
`walk.md` tells. Each step must end well; what it was, said and took is written to `recorded`,
which the page shows.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
RECORDED: Final = HERE / "recorded"
PATIENCE: Final = 600.0
"""Seconds for one step; the slowest downloads what the project requires."""

REQUIRED: Final = ["asyncpg", "fastapi", "sqlalchemy[asyncio]", "httpx", "pytest", "pytest-asyncio"]
"""What the project's environment has before."""

DATABASE: Final = "bookings_test"
"""What the project's tests use before."""

OURS: Final = ("VIRTUAL_ENV", "PYTHON", "PYTEST", "COV", "UV_", "DB_TESTING", "XDG_", "CI")
"""What of this process's environment the project does not get."""


class WalkError(Exception):
    """A step has not ended well."""


@dataclass(frozen=True)
class Step:
    """One command, as the page names and shows it."""

    name: str
    command: str
    shown: str = ""
    """The command as a user would give it, where it is another."""
    last: int | None = None
    """How many of the last lines are recorded; all, if nothing says."""


STEPS: Final = [
    Step("before", "pytest -q", last=1),
    Step(
        "install",
        "pip install --disable-pip-version-check '{wheel}[cli,embedded]' pytest-xdist",
        shown="pip install 'dist/db_testing-{version}-py3-none-any.whl[cli,embedded]' pytest-xdist",
        last=1,
    ),
    Step("doctor", "db-testing doctor"),
    Step("init", "db-testing init --yes"),
    Step("doctor-again", "db-testing doctor", last=2),
    Step("bench", "db-testing bench"),
    Step("after", "pytest -q", last=2),
    Step("parallel", "pytest -q -n 2 --dist worksteal", last=2),
]


def main() -> None:
    """Walk, and record it.

    Raises:
        WalkError: a step has not ended well.
    """
    with tempfile.TemporaryDirectory(prefix="db-testing-walk-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)  # the server's user must reach its programs
        wheel = build(folder / "dist")
        project = folder / "bookings"
        shutil.copytree(HERE / "project", project)
        walk = Walk(project, folder / "venv", folder / "home", wheel)
        walk.prepare()
        with walk.old_server() as url:
            walk.take(STEPS[0], {"TEST_DATABASE_URL": url})
        for step in STEPS[1:]:
            walk.take(step)
            if step.name == "init":  # what it leaves to be done by hand
                shutil.copytree(HERE / "after", project, dirs_exist_ok=True)
                walk.drop_template()  # another walk, or a test, may have left it
        walk.drop_template()
        walk.drop_old_database()
        walk.record()


def build(folder: Path) -> Path:
    """Build the wheel."""
    subprocess.run(
        ["uv", "build", "--quiet", "--wheel", "--package=db-testing", f"--out-dir={folder}"],
        cwd=ROOT,
        check=True,
        timeout=PATIENCE,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


class Walk:
    """A project, its environment, and what was done with it."""

    def __init__(self, project: Path, environment: Path, home: Path, wheel: Path) -> None:
        self._project = project
        self._environment = environment
        self._home = home
        self._wheel = wheel
        self._seconds: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def prepare(self) -> None:
        """Make the environment that the project has before."""
        self._home.mkdir()
        venv = [sys.executable, "-m", "venv", str(self._environment)]
        subprocess.run(venv, check=True, timeout=PATIENCE)
        self._run(["pip", "install", "--quiet", "--disable-pip-version-check", *REQUIRED], {})

    @contextlib.contextmanager
    def old_server(self) -> Iterator[str]:
        """Start the server that the project has before: PostgreSQL in memory, without fsync."""
        waits = "import os, sys; print(os.environ['URL'], flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "db_testing",
                    "run",
                    "--database",
                    DATABASE,
                    "--env",
                    "URL",
                ),
                *("--", sys.executable, "-c", waits),
            ],
            env=os.environ | {"HOME": str(self._home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            if server.stdout is None:
                raise WalkError("the server of the project says nothing")
            yield server.stdout.readline().strip()
            server.communicate(timeout=PATIENCE)

    def take(self, step: Step, environment: Mapping[str, str] | None = None) -> None:
        """Take a step, which must end well.

        Raises:
            WalkError: it does not.
        """
        names = {"wheel": self._wheel, "version": self._wheel.name.split("-")[1]}
        command = step.command.format(**names)
        print(f"$ {command}", flush=True)
        started = time.perf_counter()
        said = self._run(["sh", "-c", command], environment or {})
        seconds = time.perf_counter() - started
        print(f"{said}\n{seconds:.1f} s", flush=True)
        lines = said.replace(str(self._project), "~/bookings").rstrip().splitlines()
        lines = [line.replace(str(self._environment), "~/bookings/.venv") for line in lines]
        shown = lines if step.last is None else ["...", *lines[-step.last :]]
        prompt = f"$ {(step.shown or step.command).format(**names)}"
        self._said[step.name] = "\n".join([prompt, *shown, ""])
        self._seconds[step.name] = seconds

    def drop_template(self) -> None:
        """Drop what db-testing would keep of the project."""
        built = json.loads(self._run(["db-testing", "template", "build", "--json"], {}))
        self._run(["db-testing", "template", "prune", built["templates"][0]["template"]], {})

    def drop_old_database(self) -> None:
        """Drop the database of the old tests."""
        drop = f"DROP DATABASE {DATABASE}"
        self._run(["db-testing", "server", "psql", "-c", drop], {})

    def _run(self, command: list[str], more: Mapping[str, str]) -> str:
        outside = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        downloads = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        outside.setdefault("PIP_CACHE_DIR", str(downloads / "pip"))
        programs = f"{self._environment / 'bin'}{os.pathsep}{outside['PATH']}"
        outside |= {"HOME": str(self._home), "PATH": programs, "COLUMNS": "110"}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            cwd=self._project,
            env=outside | dict(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        if done.returncode != 0:
            raise WalkError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def record(self) -> None:
        """Replace what was recorded before."""
        shutil.rmtree(RECORDED, ignore_errors=True)
        RECORDED.mkdir()
        for name, said in self._said.items():
            (RECORDED / f"{name}.txt").write_text(said, encoding="utf-8")
        tests = re.findall(r"(\d+) passed", self._said["before"])[-1]
        (RECORDED / "table.md").write_text(table(self._seconds, tests), encoding="utf-8")


def table(seconds: Mapping[str, float], tests: str) -> str:
    """Render what the suite took, with the machine and the date."""
    rows = {"before": "as it was", "after": "with db-testing", "parallel": "and in two processes"}
    lines = [f"| {tests} tests | s | |", "|---|---:|---:|"]
    for name, what in rows.items():
        ratio = seconds["before"] / seconds[name]
        lines.append(
            f"| {what} | {seconds[name]:.1f} | {'' if name == 'before' else f'1/{ratio:.1f}'} |"
        )
    machine = f"{os.cpu_count()} cores at a load of {os.getloadavg()[1]:.0f}"
    versions = f"Python {platform.python_version()}, {platform.system()}"
    date = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    where = f"{date}, {machine} (the mean of 5 minutes), {versions}; pytest's start included."
    return "\n".join([*lines, "", where, ""])


if __name__ == "__main__":
    try:
        main()
    except (WalkError, subprocess.SubprocessError) as problem:
        sys.exit(f"walk: {problem}")
