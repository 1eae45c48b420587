"""Runs of small suites, each in a folder of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
import pytest_asyncio.plugin
from sqlalchemy.engine import make_url

from db_testing._server._admin import Admin
from db_testing._template import _naming

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITES = Path(__file__).parents[1] / "suites"

INI = """
[pytest]
asyncio_mode = {mode}
{fixture_loop_scope}
filterwarnings =
    error{warnings}
pythonpath = .
{more}
"""

SCOPE_OF_FIXTURE = "fixture-scope"
"""What pytest-asyncio does by default, and since 1.5 the way to say so; before it only warns."""

BEFORE_1_5 = """
    ignore:The configuration option:pytest.PytestDeprecationWarning
    ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"""
"""What it warns of, and the loops it left unclosed."""

Suite: TypeAlias = Callable[..., pytest.Pytester]


def loops_of_fixtures(scope: str) -> dict[str, str]:
    """Write down the loop scope of fixtures, as the pytest-asyncio that is installed takes it."""
    if scope == SCOPE_OF_FIXTURE and not hasattr(pytest_asyncio.plugin, "_MATCH_FIXTURE_SCOPE"):
        return {"fixture_loop_scope": "", "warnings": BEFORE_1_5}
    return {
        "fixture_loop_scope": f"asyncio_default_fixture_loop_scope = {scope}",
        "warnings": "",
    }


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Write a suite: files from `tests/suites`, and the conftest that makes it an application's."""
    # A project's databases carry its name; no other test's, running now, may have the same.
    folder = pytester.path / f"p{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    monkeypatch.setattr(pytester, "_path", folder)
    pytester.chdir()

    def write(
        *names: str,
        conftest: str | None = "app_conftest",
        mode: str = "strict",
        fixture_loop_scope: str = SCOPE_OF_FIXTURE,
        more: str = "",
    ) -> pytest.Pytester:
        loops = loops_of_fixtures(fixture_loop_scope)
        pytester.makeini(INI.format(mode=mode, more=more, **loops))
        pytester.makepyfile(models=(SUITES / "models.py").read_text())
        if conftest is not None:
            pytester.makeconftest((SUITES / f"{conftest}.py").read_text())
        for name in names:
            pytester.makepyfile(**{f"test_{name}": (SUITES / f"{name}.py").read_text()})
        return pytester

    return write


@pytest.fixture
def databases_of(
    test_database_url: str, pytester: pytest.Pytester
) -> Iterator[Callable[[], list[str]]]:
    """List the databases that runs in this test's folder have left."""
    admin = Admin(make_url(test_database_url).set(database="postgres"))

    async def names() -> list[str]:
        rows = await admin.connection.fetch("SELECT datname FROM pg_database")
        mine = _naming.PREFIX + pytester.path.name
        return [row["datname"] for row in rows if row["datname"].startswith(mine)]

    try:
        yield lambda: admin.run(names)
    finally:
        admin.close()
