"""The application's database, as its tests have it."""

from pathlib import Path

import pytest

from db_testing import Schema
from {{ name | snake_case }}.database import SESSION_OPTIONS, SessionOptions


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Build the database as production does: by its migrations."""
    return Schema.from_alembic(Path(__file__).parents[1] / "alembic.ini")


@pytest.fixture(scope="session")
def db_session_options() -> SessionOptions:
    """Give the application's sessions their options."""
    return SESSION_OPTIONS
