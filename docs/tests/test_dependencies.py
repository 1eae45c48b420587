"""The page of dependencies justifies each, with its least version, and no other."""

from __future__ import annotations

import re
import tomllib

from .conftest import DOCS

PROJECT = tomllib.loads((DOCS.parent / "packages/db-testing/pyproject.toml").read_text())["project"]
PAGE = (DOCS / "explanation/dependencies.md").read_text(encoding="utf-8")
README = (DOCS.parent / "packages/db-testing/README.md").read_text(encoding="utf-8")


def test_dependencies_are_justified() -> None:
    """Each dependency has a row that names it and its least version."""
    rows = [row.lower() for row in PAGE.splitlines() if row.startswith("| [")]
    required = [re.match(r"([\w-]+)[^>]*>=([\d.]+)", each) for each in PROJECT["dependencies"]]
    assert len(rows) == len(required)
    for each in required:
        assert each is not None
        assert any(f"| [{each[1]}]" in row and f" {each[2]}" in row for row in rows), each[0]


def test_extras_are_justified() -> None:
    """Each extra has a row, here and in the package's README, and there is no other row."""
    extras = set(PROJECT["optional-dependencies"])
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == extras
    [table] = re.findall(r"^\| extra \|.*\n(?:\|.*\n)+", README, re.MULTILINE)
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == extras
