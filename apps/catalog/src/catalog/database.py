"""The database: engine, sessions, and one transaction per request, as its tenant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import BigInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase

from catalog.settings import Settings

ROLE = "catalog_app"
"""Whom row-level security binds, unlike the owner of the tables."""

DIMENSIONS = 256


class SessionOptions(TypedDict):
    """Name the session options which the application relies on."""

    expire_on_commit: bool


# An async session cannot load an expired attribute on access, so nothing may expire on commit.
SESSION_OPTIONS: SessionOptions = {"expire_on_commit": False}


class Base(DeclarativeBase):
    """Map the tables, which `schema/*.sql` makes."""

    type_annotation_map = {  # noqa: RUF012 - as SQLAlchemy declares it
        int: BigInteger,
        dict[str, str]: JSONB,
        list[float]: VECTOR(DIMENSIONS),
    }


Sessions = async_sessionmaker[AsyncSession]


def create_engine(settings: Settings) -> AsyncEngine:
    """Create the process's engine; it connects on first use and must be disposed of at the end."""
    return create_async_engine(
        settings.url("asyncpg"),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_pre_ping=True,
    )


def create_sessionmaker(engine: AsyncEngine) -> Sessions:
    """Create the factory of the sessions which serve requests."""
    return async_sessionmaker(engine, **SESSION_OPTIONS)


_BECOME = text(
    "SELECT set_config('catalog.tenant', :tenant, true), set_config('role', :role, true)"
)


async def become(session: AsyncSession, tenant_id: int) -> None:
    """Show a session one tenant's rows and no others', until its transaction ends.

    A pooled connection carries nothing of it to the next one.
    """
    await session.execute(_BECOME, {"tenant": str(tenant_id), "role": ROLE})


@asynccontextmanager
async def transaction_of(sessionmaker: Sessions, tenant_id: int) -> AsyncIterator[AsyncSession]:
    """Give a session in one transaction of one tenant: commit when all went well."""
    async with sessionmaker.begin() as session:
        await become(session, tenant_id)
        yield session
