"""Migrations and models describe the same database, and every migration can be undone."""

from pathlib import Path

from backend.database import Base
from db_testing.migrations import MigrationTests


class TestMigrations(MigrationTests):
    """What db-testing and pytest-alembic check of any history."""

    ini = Path(__file__).parents[1] / "alembic.ini"
    metadata = Base.metadata
