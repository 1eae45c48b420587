"""The tutorial's project is run as the page says, and prints what the page says."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil

import pytest

from .conftest import DOCS

PAGE = (DOCS / "tutorial.md").read_text(encoding="utf-8")
CONSOLE = re.compile(r"^```console\n\$ (pytest.*)\n((?:.*\n)*?)```", re.MULTILINE)


def runs() -> list[tuple[str, list[str]]]:
    """Return each command that runs pytest, with patterns for the lines that follow it."""
    return [
        (
            command,
            [
                re.sub(r"\.\.\.|=+", "*", line.replace("[", "[[]"))
                for line in printed.splitlines()
                if line not in ("", "...")
            ],
        )
        for command, printed in CONSOLE.findall(PAGE)
    ]


def test_tutorial_runs_pytest() -> None:
    """The suite is run one after the other, in parallel, and with real commits."""
    assert len(runs()) == 3


@pytest.mark.parametrize(("command", "expected"), runs(), ids=str)
def test_command(command: str, expected: list[str], pytester: pytest.Pytester) -> None:
    """What a command prints, in this order, is what the page shows."""
    shutil.copytree(DOCS / "examples" / "tutorial", pytester.path, dirs_exist_ok=True)
    others = ("randomly", "faker", "hypothesispytest", "pytest_alembic", "queryguard")
    options = " ".join(f"-p no:{plugin}" for plugin in others)
    result = pytester.runpytest_subprocess(*shlex.split(command)[1:], *shlex.split(options))
    printed = iter(result.outlines)
    for pattern in expected:
        assert any(fnmatch.fnmatch(line, pattern) for line in printed), pattern
