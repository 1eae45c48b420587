"""The database: sessions, and one transaction per request."""

from collections.abc import AsyncIterator
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase


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


async def request_transaction(request: Request) -> AsyncIterator[AsyncSession]:
    """Give a request one session in one transaction: commit when it succeeds, else roll back."""
    sessionmaker = cast("async_sessionmaker[AsyncSession]", request.app.state.sessionmaker)
    async with sessionmaker.begin() as session:
        yield session


# Function scope ends the transaction before the response is sent.
RequestSession = Annotated[AsyncSession, Depends(request_transaction, scope="function")]
