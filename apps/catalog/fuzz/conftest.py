"""The application's database, as its tests have it."""

from pathlib import Path

import pytest

from catalog.database import SESSION_OPTIONS, SessionOptions
from catalog.taxonomy.service import seed
from db_testing import Schema


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Build the database of the files that production runs, with its taxonomy."""
    folder = Path(__file__).parents[1] / "schema"
    return Schema.from_sql(folder, extensions=["pg_trgm", "vector"], seed=seed)


@pytest.fixture(scope="session")
def db_session_options() -> SessionOptions:
    """Give the application's sessions their options."""
    return SESSION_OPTIONS
