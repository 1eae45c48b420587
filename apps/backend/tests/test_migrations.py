"""Migrations and models describe the same database."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.database import Base


def _differences(connection: Connection) -> Sequence[Any]:
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    differences: Sequence[Any] = compare_metadata(context, Base.metadata)
    return differences


async def test_the_migrations_make_what_the_models_say(db_connection: AsyncConnection) -> None:
    """Autogenerate finds nothing to add, so nobody forgot a migration."""
    assert await db_connection.run_sync(_differences) == []


async def test_the_database_is_at_the_only_head(db_connection: AsyncConnection) -> None:
    """Two branches of migrations would leave it to chance what production gets."""
    scripts = ScriptDirectory.from_config(Config(Path(__file__).parents[1] / "alembic.ini"))

    applied = await db_connection.scalars(text("SELECT version_num FROM alembic_version"))

    assert applied.all() == scripts.get_heads()
    assert len(scripts.get_heads()) == 1
