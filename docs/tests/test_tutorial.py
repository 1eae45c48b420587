"""The tutorial's project is run as the page says, and prints what the page says."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest

from .conftest import DOCS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (DOCS / "tutorial.md").read_text(encoding="utf-8")
CONSOLE = re.compile(r"^```console\n\$ (pytest.*)\n((?:.*\n)*?)```", re.MULTILINE)


def runs() -> Iterator[tuple[str, list[str]]]:
    """Return each command that runs pytest, with patterns for the lines that follow it."""
    for command, printed in CONSOLE.findall(PAGE):
        lines = [line for line in printed.splitlines() if line not in ("", "...")]
        yield command, [re.sub(r"\.\.\.|=+", "*", line.replace("[", "[[]")) for line in lines]


def test_tutorial_runs_pytest() -> None:
    """The suite is run one after the other, in parallel, and with real commits."""
    assert len(list(runs())) == 3


@pytest.mark.parametrize(("command", "expected"), runs(), ids=[command for command, _ in runs()])
def test_command(command: str, expected: list[str], pytester: pytest.Pytester) -> None:
    """What a command prints, in this order, is what the page shows."""
    shutil.copytree(DOCS / "examples" / "tutorial", pytester.path, dirs_exist_ok=True)
    options = "-p no:randomly -p no:faker -p no:hypothesispytest -p no:pytest_alembic"
    result = pytester.runpytest_subprocess(*shlex.split(command)[1:], *shlex.split(options))
    printed = iter(result.outlines)
    for pattern in expected:
        assert any(fnmatch.fnmatch(line, pattern) for line in printed), pattern
