"""Run the migrations over asyncpg, on the configured URL or else on the application's own."""

import asyncio

from alembic import context
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from {{ name | snake_case }}.database import Base
from {{ name | snake_case }}.items import models  # noqa: F401  # its import fills the metadata
from {{ name | snake_case }}.settings import Settings


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()


def _url() -> URL:
    configured = context.config.get_main_option("sqlalchemy.url")
    if configured:
        return make_url(configured).set(drivername="postgresql+asyncpg")
    return Settings().asyncpg_url


async def _run() -> None:
    engine = create_async_engine(_url(), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
    await engine.dispose()


asyncio.run(_run())
