"""Wiring: the application and everything that is mounted on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from starlette.types import StatelessLifespan

from {{ name | snake_case }}.database import SESSION_OPTIONS
from {{ name | snake_case }}.items.router import router as items_router
from {{ name | snake_case }}.settings import Settings


def _invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
    # As FastAPI has it, but without the rejected input, which may be what JSON cannot carry.
    errors = [{key: item[key] for key in ("type", "loc", "msg")} for item in error.errors()]
    return JSONResponse({"detail": errors}, HTTPStatus.UNPROCESSABLE_ENTITY)


def create_app(
    sessionmaker: async_sessionmaker[AsyncSession],
    *,
    lifespan: StatelessLifespan[FastAPI] | None = None,
) -> FastAPI:
    """Create the application on sessions from `sessionmaker`, whose engine the caller owns."""
    app = FastAPI(title="{{ name }}", version="0.1.0", lifespan=lifespan)
    app.state.sessionmaker = sessionmaker
    app.exception_handler(RequestValidationError)(_invalid_request)
    app.include_router(items_router)
    return app


def app() -> FastAPI:
    """Create the application from the environment, for `uvicorn --factory`."""
    engine = create_async_engine(Settings().asyncpg_url, pool_pre_ping=True)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await engine.dispose()

    return create_app(async_sessionmaker(engine, **SESSION_OPTIONS), lifespan=lifespan)
