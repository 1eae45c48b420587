"""Health: whether this process can serve, which it cannot without its database."""

from http import HTTPStatus
from typing import cast

from fastapi import APIRouter, Request
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from jobs.problems import ProblemError

router = APIRouter(tags=["health"])


class DatabaseUnavailableError(ProblemError):
    """Report that the database does not answer."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "Database unavailable"


@router.get("/health")
async def health(request: Request) -> dict[str, str]:
    """Run one query; answers 503 when the database does not."""
    sessionmaker = cast("async_sessionmaker[AsyncSession]", request.app.state.sessionmaker)
    try:
        async with sessionmaker() as session:
            await session.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError) as error:
        # The cause may name hosts and users, so it goes to the log and not to the client.
        message = "The database does not answer."
        raise DatabaseUnavailableError(message) from error
    return {"status": "ok"}
