"""Search over HTTP."""

from collections.abc import Sequence
from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.embedding import Embedder
from catalog.fields import IdQuery, Limit
from catalog.search import service
from catalog.search.schemas import Hit, Mode

Query = Annotated[str, QueryParameter(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]


class SearchController(Controller):
    """Find products."""

    path = "/search"
    tags: Sequence[str] | None = ("search",)

    @get()
    async def search(  # noqa: PLR0917 - Litestar's handlers take what they need
        self,
        q: Query,
        session: NamedDependency[AsyncSession],
        embedder: NamedDependency[Embedder],
        mode: FromQuery[Mode] = Mode.HYBRID,
        category: IdQuery = None,
        limit: Limit = 20,
    ) -> list[Hit]:
        """Find products of a category or of all, the best first."""
        return list(
            await service.search(session, embedder, q, mode=mode, category_id=category, limit=limit)
        )
