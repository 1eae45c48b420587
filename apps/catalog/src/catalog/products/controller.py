"""Products over HTTP."""

from collections.abc import Sequence
from typing import Annotated

from litestar import Controller, Request, delete, get, patch, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.embedding import Embedder
from catalog.fields import MAX_ID, After, IdQuery, Limit
from catalog.products import importing, service
from catalog.products.schemas import Imported, ProductChange, ProductIn, ProductOut, ProductPage
from catalog.tenants import Tenant

ProductId = Annotated[int, PathParameter(ge=1, le=MAX_ID)]
TenantRequest = Request[Tenant, None, State]


class ProductController(Controller):
    """Keep a tenant's products."""

    path = "/products"
    tags: Sequence[str] | None = ("products",)

    @post()
    async def create(
        self,
        data: JSONBody[ProductIn],
        request: TenantRequest,
        session: NamedDependency[AsyncSession],
        embedder: NamedDependency[Embedder],
    ) -> ProductOut:
        """Add a product."""
        return ProductOut.of(await service.create(session, embedder, request.user.id, data))

    @post("/import")
    async def import_file(
        self,
        request: TenantRequest,
        session: NamedDependency[AsyncSession],
        embedder: NamedDependency[Embedder],
    ) -> Imported:
        """Add or renew many products at once: a JSON object on each line, all or nothing."""
        content = await request.body()
        return await importing.import_products(session, embedder, request.user.id, content)

    @get()
    async def list_page(
        self,
        session: NamedDependency[AsyncSession],
        category: IdQuery = None,
        after: After = 0,
        limit: Limit = 50,
    ) -> ProductPage:
        """List products, also those of categories below the one that is asked for."""
        found = await service.list_page(session, category_id=category, after=after, limit=limit)
        shown = [ProductOut.of(product) for product in found[:limit]]
        return ProductPage(shown, shown[-1].id if len(found) > limit else None)

    @get("/{product_id:int}")
    async def show(
        self, product_id: ProductId, session: NamedDependency[AsyncSession]
    ) -> ProductOut:
        """Show a product."""
        return ProductOut.of(await service.get(session, product_id))

    @patch("/{product_id:int}")
    async def change(
        self,
        product_id: ProductId,
        data: JSONBody[ProductChange],
        session: NamedDependency[AsyncSession],
        embedder: NamedDependency[Embedder],
    ) -> ProductOut:
        """Change a product."""
        return ProductOut.of(await service.change(session, embedder, product_id, data))

    @delete("/{product_id:int}")
    async def remove(self, product_id: ProductId, session: NamedDependency[AsyncSession]) -> None:
        """Delete a product and its prices."""
        await service.remove(session, product_id)
