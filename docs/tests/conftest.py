"""What the tests of the documentation share: small runs of pytest, on a server that stays."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db_testing._server import _server

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[1]

# A suite is run in this process, which forgets afterwards what was imported for it. These would
# take a second each time, and extensions in C do not bear it.
HEAVY = ("asyncpg", "psycopg", "sqlalchemy.ext.asyncio", "fastapi.testclient", "litestar.testing")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Advanced Alchemy's, of SQLAlchemy 2.1
    for name in HEAVY:
        importlib.import_module(name)


@pytest.fixture(autouse=True, scope="session")
def _server_stays() -> Iterator[None]:
    """Hold the embedded server, which else is started and stopped by each small run."""
    server = _server.acquire("embedded")
    yield
    server.release()


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a folder in which pytest runs as at a person's terminal, with few plugins."""
    for variable in ("CI", "BUILD_NUMBER"):  # else pytest repeats messages in its last lines
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_asyncio.plugin,db_testing.plugin")
    # Others' business, such as Advanced Alchemy's of SQLAlchemy 2.1, and pytest-asyncio's.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-W error -W ignore::DeprecationWarning")
    return pytester
