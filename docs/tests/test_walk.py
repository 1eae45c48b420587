"""The walk through a project with a slow conftest: what the page shows is what happens."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from db_testing._commands import program

from .conftest import DOCS

if TYPE_CHECKING:
    import pytest

WALK = DOCS / "walk"


def test_init_and_what_is_done_by_hand(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`init` prints what was recorded; with the conftest that is shown, every test passes."""
    monkeypatch.delenv("DB_TESTING_SERVER", raising=False)
    shutil.copytree(WALK / "project", suite.path, dirs_exist_ok=True)
    said = CliRunner().invoke(program.app, ["init", "--yes"]).output
    command, _, recorded = (WALK / "recorded" / "init.txt").read_text().partition("\n")
    assert command == "$ db-testing init --yes"
    assert said.replace(str(suite.path), "~/bookings").split() == recorded.split()
    shutil.copytree(WALK / "after", suite.path, dirs_exist_ok=True)
    result = suite.runpytest()
    before = (WALK / "recorded" / "before.txt").read_text()
    assert f"\n{result.parseoutcomes()['passed']} passed in " in before
    assert set(result.parseoutcomes()) == {"passed"}
