"""The database as the application has it."""

from pathlib import Path

import pytest

from backend.database import SESSION_OPTIONS, SessionOptions
from db_testing import Schema


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Build the database as production does: by its migrations."""
    return Schema.from_alembic(Path(__file__).parents[1] / "alembic.ini")


@pytest.fixture(scope="session")
def db_session_options() -> SessionOptions:
    """Give the tests' own sessions the application's options."""
    return SESSION_OPTIONS
