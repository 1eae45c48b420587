"""Wiring: the application and everything that is mounted on it."""

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

_DESCRIPTION = """
Register with `POST /users`, or sign in with `POST /users/token`; every other request but `/health`
sends `Authorization: Bearer <token>`. The button *Authorize* does both for this page.

Amounts and rates are decimals in strings, never numbers with a binary fraction. Changes of
accounts, entries, bank accounts and matches send the `ETag` last read as `If-Match`. Errors are
problem details (RFC 9457). Listings take `limit` and the `cursor` of the page before.
"""

_TAGS = [
    {"name": "health", "description": "Whether this process and its database answer."},
    {"name": "users", "description": "Who owns which books: passwords and tokens."},
    {"name": "accounts", "description": "The chart of accounts, a forest of five types."},
    {"name": "journal", "description": "Entries from draft to posted to voided, and their trail."},
    {"name": "statements", "description": "Bank accounts, and the import of CSV and OFX files."},
    {"name": "reconciliation", "description": "Which statement lines are which entries."},
    {"name": "rates", "description": "Exchange rates, and the one that counted on a day."},
    {"name": "revaluation", "description": "Unrealised gains and losses of exchange rates."},
    {"name": "reports", "description": "What the books say, in any currency with known rates."},
]


def create_app(
    sessionmaker: async_sessionmaker[AsyncSession],
    credentials: Credentials,
    *,
    lifespan: StatelessLifespan[FastAPI] | None = None,
) -> FastAPI:
    """Create the application on sessions from `sessionmaker`, whose engine the caller owns."""
    app = FastAPI(
        title="Accounting",
        summary="Double-entry books, bank statements and their reconciliation, rates, reports.",
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
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
    credentials = Credentials.from_settings(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await engine.dispose()

    return create_app(create_sessionmaker(engine), credentials, lifespan=lifespan)
