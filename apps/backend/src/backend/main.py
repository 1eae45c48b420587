"""Wiring: the application and everything that is mounted on it."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.types import StatelessLifespan

from backend import health
from backend.accounts.router import router as accounts_router
from backend.database import create_engine, create_sessionmaker
from backend.journal.router import router as journal_router
from backend.problems import PROBLEM_RESPONSES, register_problem_handlers
from backend.rates.router import router as rates_router
from backend.reconciliation.router import router as reconciliation_router
from backend.reports.router import router as reports_router
from backend.revaluation.router import router as revaluation_router
from backend.settings import Settings
from backend.statements.router import router as statements_router
from backend.users.credentials import Credentials
from backend.users.router import router as users_router


def create_app(
    sessionmaker: async_sessionmaker[AsyncSession],
    credentials: Credentials,
    *,
    lifespan: StatelessLifespan[FastAPI] | None = None,
) -> FastAPI:
    """Create the application on sessions from `sessionmaker`, whose engine the caller owns."""
    app = FastAPI(
        title="Accounting",
        summary="Double-entry books: accounts, a journal with an audit trail, a trial balance.",
        version="0.1.0",
        lifespan=lifespan,
        redirect_slashes=False,
        responses=PROBLEM_RESPONSES,
    )
    app.state.sessionmaker = sessionmaker
    app.state.credentials = credentials
    register_problem_handlers(app)
    app.include_router(health.router)
    app.include_router(users_router)
    app.include_router(accounts_router)
    app.include_router(journal_router)
    app.include_router(statements_router)
    app.include_router(reconciliation_router)
    app.include_router(rates_router)
    app.include_router(revaluation_router)
    app.include_router(reports_router)
    return app


def app() -> FastAPI:
    """Create the application from the environment, for `uvicorn --factory backend.main:app`."""
    settings = Settings()
    engine = create_engine(settings)
    credentials = Credentials(
        settings.token_secret.get_secret_value(),
        dt.timedelta(minutes=settings.token_lifetime_minutes),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await engine.dispose()

    return create_app(create_sessionmaker(engine), credentials, lifespan=lifespan)
