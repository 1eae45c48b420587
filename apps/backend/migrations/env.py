"""Run the migrations over asyncpg, on the configured URL or else on the application's own."""

import asyncio
from importlib import import_module

from alembic import context
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from backend.database import Base
from backend.settings import Settings

# Importing the models is what fills the metadata that `alembic check` compares with.
for domain in ("users", "accounts", "journal", "statements", "rates"):
    import_module(f"backend.{domain}.models")


def _url() -> str:
    configured = context.config.get_main_option("sqlalchemy.url")
    if configured:
        return (
            make_url(configured)
            .set(drivername="postgresql+asyncpg")
            .render_as_string(hide_password=False)
        )
    return Settings().database_url.get_secret_value()


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


async def _migrate_online() -> None:
    engine = create_async_engine(_url(), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
    await engine.dispose()


if context.is_offline_mode():
    context.configure(url=_url(), target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(_migrate_online())
