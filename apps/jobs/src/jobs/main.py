"""Wiring of the API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.types import StatelessLifespan

from jobs import health
from jobs.authentication import require_key
from jobs.database import create_engine, create_sessionmaker
from jobs.deliveries.router import router as deliveries_router
from jobs.endpoints.router import router as endpoints_router
from jobs.events.router import router as events_router
from jobs.orders.router import router as orders_router
from jobs.problems import PROBLEM_RESPONSES, register_problem_handlers
from jobs.settings import Settings


def create_app(
    sessionmaker: async_sessionmaker[AsyncSession],
    api_key: str,
    *,
    lifespan: StatelessLifespan[FastAPI] | None = None,
) -> FastAPI:
    """Create the API on sessions from `sessionmaker`, whose engine the caller owns."""
    app = FastAPI(
        title="Webhooks",
        summary="Orders, and the webhooks that tell other systems of them.",
        version="0.1.0",
        lifespan=lifespan,
        redirect_slashes=False,
        responses=PROBLEM_RESPONSES,
    )
    app.state.sessionmaker = sessionmaker
    app.state.api_key = api_key
    register_problem_handlers(app)
    app.include_router(health.router)
    for router in (orders_router, events_router, endpoints_router, deliveries_router):
        app.include_router(router, dependencies=[Depends(require_key)])
    return app


def app() -> FastAPI:
    """Create the API from the environment, for `uvicorn --factory jobs.main:app`."""
    settings = Settings()
    engine = create_engine(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await engine.dispose()

    key = settings.api_key.get_secret_value()
    return create_app(create_sessionmaker(engine), key, lifespan=lifespan)
