"""The database: engine, sessions, and one transaction per request."""

from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypedDict, cast

from fastapi import Depends, Request
from sqlalchemy import BigInteger, DateTime, Enum, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase

from jobs.settings import Settings


class SessionOptions(TypedDict):
    """Name the session options which the application relies on."""

    expire_on_commit: bool


# An async session cannot load an expired attribute on access, so nothing may expire on commit.
SESSION_OPTIONS: SessionOptions = {"expire_on_commit": False}


class Base(DeclarativeBase):
    """Collect every table in one metadata whose constraint names migrations can refer to."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - as SQLAlchemy declares it
        int: BigInteger,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
    }


def native_enum(enum: type[StrEnum], name: str) -> Enum:
    """Map `enum` to the PostgreSQL enum `name`, storing members' values and not their names."""
    return Enum(enum, name=name, values_callable=lambda members: [str(m) for m in members])


def create_engine(settings: Settings) -> AsyncEngine:
    """Create the process's engine; it connects on first use and must be disposed of at the end."""
    return create_async_engine(
        settings.url, pool_size=settings.concurrency, max_overflow=0, pool_pre_ping=True
    )


def create_sessionmaker(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Create the factory of the sessions which serve requests and jobs."""
    return async_sessionmaker(engine, **SESSION_OPTIONS)


async def request_transaction(request: Request) -> AsyncIterator[AsyncSession]:
    """Give a request one session in one transaction: commit when it succeeds, else roll back."""
    sessionmaker = cast("async_sessionmaker[AsyncSession]", request.app.state.sessionmaker)
    async with sessionmaker.begin() as session:
        yield session


# Function scope ends the transaction before the response is sent: a client that has read "201"
# finds its rows committed, and a commit that fails still becomes an error response.
RequestSession = Annotated[AsyncSession, Depends(request_transaction, scope="function")]
