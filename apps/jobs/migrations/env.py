"""Run the migrations over asyncpg, on the configured URL or else on the application's own."""

import asyncio
from importlib import import_module

from alembic import context
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from jobs.database import Base
from jobs.settings import Settings

# Importing the models is what fills the metadata that `alembic check` compares with.
for domain in ("deliveries", "endpoints", "events", "orders"):
    import_module(f"jobs.{domain}.models")


def _url() -> URL:
    configured = context.config.get_main_option("sqlalchemy.url")
    if configured:
        return make_url(configured).set(drivername="postgresql+asyncpg")
    return Settings().url


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # The queue's tables are PgQueuer's, and no models of ours.
        include_name=lambda name, kind, _: (
            kind != "table" or not (name or "").startswith("pgqueuer")
        ),
    )
    with context.begin_transaction():
        context.run_migrations()


async def _migrate_online() -> None:
    engine = create_async_engine(_url(), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
    await engine.dispose()


asyncio.run(_migrate_online())
