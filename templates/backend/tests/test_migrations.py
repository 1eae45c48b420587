"""Migrations and models describe the same database, and every migration can be undone."""

from pathlib import Path

from db_testing.migrations import MigrationTests
from {{ name | snake_case }}.database import Base


class TestMigrations(MigrationTests):
    """What db-testing and pytest-alembic check of any history."""

    ini = Path(__file__).parents[1] / "alembic.ini"
    metadata = Base.metadata
