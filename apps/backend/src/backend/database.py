"""The database: engine, sessions, and one transaction per request."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, TypedDict, cast

import asyncpg
from fastapi import Depends, Request
from sqlalchemy import Enum, MetaData
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase

from backend.problems import ProblemError
from backend.settings import Settings


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


def native_enum(enum: type[StrEnum], name: str) -> Enum:
    """Map `enum` to the PostgreSQL enum `name`, storing members' values and not their names."""
    return Enum(enum, name=name, values_callable=lambda members: [str(m) for m in members])


def create_engine(settings: Settings) -> AsyncEngine:
    """Create the process's engine; it connects on first use and must be disposed of at the end."""
    return create_async_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_pre_ping=True,
    )


def create_sessionmaker(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Create the factory of the sessions which serve requests."""
    return async_sessionmaker(engine, **SESSION_OPTIONS)


async def request_transaction(request: Request) -> AsyncIterator[AsyncSession]:
    """Give a request one session in one transaction: commit when it succeeds, else roll back."""
    sessionmaker = cast("async_sessionmaker[AsyncSession]", request.app.state.sessionmaker)
    async with sessionmaker.begin() as session:
        yield session


# Function scope ends the transaction before the response is sent: a client that has read "201"
# finds its rows committed, and a commit that fails still becomes an error response.
RequestSession = Annotated[AsyncSession, Depends(request_transaction, scope="function")]


def constraint_name(error: IntegrityError) -> str | None:
    """Name the constraint that PostgreSQL reports as violated, when it reports one."""
    driver_error: Any = error.orig.__cause__ if error.orig is not None else None
    name: str | None = getattr(driver_error, "constraint_name", None)
    return name


@contextmanager
def translated(problems: Mapping[str, ProblemError]) -> Iterator[None]:
    """Raise the problem that stands for a violated constraint; other errors pass unchanged.

    Asking the database to refuse is free of the race between a check and the write it permits.
    """
    try:
        yield
    except IntegrityError as error:
        problem = problems.get(constraint_name(error) or "")
        if problem is None:
            raise
        raise problem from error


async def copy_rows(
    session: AsyncSession, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Write rows by COPY, in the session's transaction, which must have begun.

    SQLAlchemy knows no COPY, so the driver's own connection does it.
    """
    raw = await (await session.connection()).get_raw_connection()
    driver = cast("asyncpg.Connection", raw.driver_connection)
    await driver.copy_records_to_table(table, records=rows, columns=columns)
