"""The examples in the documentation are complete, shown as they are, and pass."""

from __future__ import annotations

import re
import shutil

import pytest

from .conftest import DOCS

EXAMPLES = DOCS / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
INCLUDED = re.compile(r"^```\{literalinclude\} (\S+)", re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_example_passes(name: str, suite: pytest.Pytester) -> None:
    """An example's tests pass, on a database, without a warning, and leave nothing behind."""
    shutil.copytree(EXAMPLES / name, suite.path, dirs_exist_ok=True)
    plugins = ("-p", "pytest_queryguard.plugin") if name == "queries" else ()
    result = suite.runpytest(*plugins)
    outcomes = result.parseoutcomes()
    assert outcomes == {"passed": outcomes.get("passed")}
    result.stdout.fnmatch_lines(["db-testing: * database test*"])
    result.stdout.no_fnmatch_line("*left behind*")


@pytest.mark.parametrize("name", NAMES)
def test_example_is_shown(name: str) -> None:
    """What is run is what is shown: each file of an example is included in a page."""
    shown = {
        (page.parent / path).resolve()
        for page in DOCS.rglob("*.md")
        for path in INCLUDED.findall(page.read_text(encoding="utf-8"))
    }
    files = {path for path in (EXAMPLES / name).rglob("*.*") if path.suffix != ".pyc"}
    assert {path for path in files if path.is_file()} <= shown
