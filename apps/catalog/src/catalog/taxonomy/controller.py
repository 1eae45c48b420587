"""The taxonomy over HTTP. It is read here; `catalog.maintenance` moves categories."""

from collections.abc import Sequence
from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import PathParameter
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.fields import MAX_ID
from catalog.taxonomy import service
from catalog.taxonomy.schemas import CategoryDetails, CategoryOut


class TaxonomyController(Controller):
    """Show categories."""

    path = "/categories"
    tags: Sequence[str] | None = ("taxonomy",)

    @get()
    async def roots(self, session: NamedDependency[AsyncSession]) -> list[CategoryOut]:
        """List the categories that lie below no other."""
        return [CategoryOut.of(category) for category in await service.children(session, None)]

    @get("/{category_id:int}")
    async def show(
        self,
        category_id: Annotated[int, PathParameter(ge=1, le=MAX_ID)],
        session: NamedDependency[AsyncSession],
    ) -> CategoryDetails:
        """Show a category, what lies above it and what lies below."""
        category = await service.get(session, category_id)
        return CategoryDetails(
            CategoryOut.of(category),
            [CategoryOut.of(each) for each in await service.path(session, category)],
            [CategoryOut.of(each) for each in await service.children(session, category_id)],
        )
