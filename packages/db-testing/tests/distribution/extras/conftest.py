"""A database that migrations have built."""

from pathlib import Path

import pytest

from db_testing import Schema


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Run the migrations."""
    return Schema.from_alembic(Path(__file__).parent / "alembic.ini")
