"""Projects to run commands in, as their users have them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from db_testing import cli

if TYPE_CHECKING:
    from pathlib import Path

Command: TypeAlias = Callable[..., tuple[int, dict[str, Any]]]

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Thing(Base):
    __tablename__ = "thing_{unique}"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
"""

CONFTEST = """
import pytest
from db_testing import Schema
from models import Base

@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_metadata(Base.metadata)
"""

TESTS = """
from sqlalchemy import select
from models import Thing

async def test_first(db):
    db.add(Thing(name="a"))
    await db.commit()
    assert (await db.scalars(select(Thing.id))).all() == [1]

async def test_second(db):
    db.add(Thing(name="a"))
    await db.commit()
    assert (await db.scalars(select(Thing.id))).all() == [1]

def test_without():
    assert True
"""

CONFIGURATION = "[pytest]\nasyncio_mode = auto\npythonpath = .\naddopts = -p no:randomly\n"


@pytest.fixture
def unique() -> str:
    """Return what no other project's tables are called."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def project(tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project that is tested with db-testing, to which no template belongs yet."""
    folder = tmp_path / f"p{unique}"
    folder.mkdir()
    (folder / "pytest.ini").write_text(CONFIGURATION)
    (folder / "models.py").write_text(MODELS.format(unique=unique))
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_things.py").write_text(TESTS)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DB_TESTING_SERVER", raising=False)
    return folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return what runs a command with --json, and returns its exit code and what it has said."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = cli.main(arguments)
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else {"error": said.err}

    return run
