"""Prices over HTTP."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from litestar import Controller, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.fields import MAX_ID, Limit
from catalog.prices import service
from catalog.prices.errors import InvalidPriceError
from catalog.prices.schemas import PriceIn, PriceOut

ProductId = Annotated[int, PathParameter(ge=1, le=MAX_ID)]
CurrencyQuery = Annotated[str, QueryParameter(pattern="^[A-Z]{3}$")]


class PriceController(Controller):
    """Keep what products cost."""

    path = "/products/{product_id:int}"
    tags: Sequence[str] | None = ("prices",)

    @put("/prices")
    async def put(
        self,
        product_id: ProductId,
        data: JSONBody[PriceIn],
        session: NamedDependency[AsyncSession],
    ) -> PriceOut:
        """Set what a product costs from a moment on."""
        return PriceOut.of(await service.put(session, product_id, data))

    @get("/prices")
    async def history(
        self, product_id: ProductId, session: NamedDependency[AsyncSession], limit: Limit = 50
    ) -> list[PriceOut]:
        """List what a product has cost, the newest first."""
        return [PriceOut.of(price) for price in await service.history(session, product_id, limit)]

    @get("/price")
    async def at(
        self,
        product_id: ProductId,
        currency: CurrencyQuery,
        session: NamedDependency[AsyncSession],
        at: Annotated[datetime | None, QueryParameter()] = None,
    ) -> PriceOut:
        """Show what a product cost at a moment, or costs now."""
        moment = at or datetime.now(UTC)
        if moment.tzinfo is None:
            message = f"{moment.isoformat()} has no offset from UTC, such as +01:00."
            raise InvalidPriceError(message)
        return PriceOut.of(await service.at(session, product_id, currency, moment))
