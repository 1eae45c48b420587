"""Wiring: the application and everything that is mounted on it."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from litestar import Litestar, Request, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.database import Sessions, create_engine, create_sessionmaker, transaction_of
from catalog.embedding import Embedder, HashingEmbedder
from catalog.prices.controller import PriceController
from catalog.problems import EXCEPTION_HANDLERS, ProblemError
from catalog.products.controller import ProductController
from catalog.search.controller import SearchController
from catalog.settings import Settings
from catalog.taxonomy.controller import TaxonomyController
from catalog.tenants import KeyAuthentication, Tenant


class DatabaseUnavailableError(ProblemError):
    """Report that the database does not answer."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "Database unavailable"


@get("/health", exclude_from_auth=True)
async def health(state: State) -> dict[str, str]:
    """Run one query; answers 503 when the database does not."""
    try:
        async with state.sessionmaker() as session:
            await session.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError) as error:
        message = "The database does not answer."
        raise DatabaseUnavailableError(message) from error
    return {"status": "ok"}


async def provide_session(
    request: Request[Tenant, None, Any], state: State
) -> AsyncIterator[AsyncSession]:
    """Give a request one transaction, as its tenant; it ends before the response is sent."""
    async with transaction_of(state.sessionmaker, request.user.id) as session:
        yield session


def create_app(sessionmaker: Sessions, **options: Any) -> Litestar:  # noqa: ANN401 - Litestar's
    """Create the application on sessions from `sessionmaker`, whose engine the caller owns."""
    embedder = HashingEmbedder()

    def provide_embedder() -> Embedder:
        return embedder

    return Litestar(
        [health, TaxonomyController, ProductController, PriceController, SearchController],
        dependencies={
            "session": Provide(provide_session),
            "embedder": Provide(provide_embedder, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[DefineMiddleware(KeyAuthentication, exclude=["^/schema"])],
        openapi_config=OpenAPIConfig(
            title="Catalog",
            version="0.1.0",
            security=[{"key": []}],
            components=Components(
                security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}
            ),
        ),
        logging_config=None,  # the process's own stays
        state=State({"sessionmaker": sessionmaker}),
        **options,
    )


def app() -> Litestar:
    """Create the application from the environment, for `uvicorn --factory catalog.main:app`."""
    engine = create_engine(Settings())
    return create_app(create_sessionmaker(engine), on_shutdown=[engine.dispose])
