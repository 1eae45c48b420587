"""Migrations and models describe the same database, and every migration can be undone."""

from pathlib import Path

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from db_testing.migrations import MigrationTests
from jobs.database import Base


class TestMigrations(MigrationTests):
    """What db-testing and pytest-alembic check of any history."""

    ini = Path(__file__).parents[1] / "alembic.ini"
    metadata = Base.metadata


async def test_the_queue_is_as_pgqueuer_wants_it(db_asyncpg: asyncpg.Connection) -> None:
    """An upgrade of PgQueuer that wants another schema fails here."""
    plan = await Queries(AsyncpgDriver(db_asyncpg)).plan_upgrade()
    assert plan.statements == ()
