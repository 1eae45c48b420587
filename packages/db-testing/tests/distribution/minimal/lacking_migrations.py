"""Tests of migrations, where pytest-alembic is missing."""

from models import Base

from db_testing.migrations import MigrationTests


class TestMigrations(MigrationTests):
    metadata = Base.metadata
