"""What is done with products, one by one; row-level security keeps to the session's tenant."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.embedding import Embedder
from catalog.problems import translated
from catalog.products.errors import ProductNotFoundError, SkuTakenError, UnknownCategoryError
from catalog.products.models import Product
from catalog.products.schemas import ProductChange, ProductIn
from catalog.taxonomy import service as taxonomy


async def create(
    session: AsyncSession, embedder: Embedder, tenant_id: int, data: ProductIn
) -> Product:
    """Add a product; raises `SkuTakenError` and `UnknownCategoryError`."""
    product = Product(tenant_id=tenant_id, **msgspec.structs.asdict(data))
    product.embedding = embedder.embed(data.name, data.description)
    session.add(product)
    await _flush(session, product)
    return product


async def get(
    session: AsyncSession, id_: int, *, with_for_update: bool | dict[str, bool] = False
) -> Product:
    """Return a product, locked as `session.get` is told to; raises `ProductNotFoundError`."""
    product = await session.get(Product, id_, with_for_update=with_for_update)
    if product is None:
        raise _not_found(id_)
    return product


async def list_page(
    session: AsyncSession, *, category_id: int | None, after: int, limit: int
) -> Sequence[Product]:
    """Return products in the order of their ids, and one more if another page follows.

    Those of a category are those of all that lie below it too.
    """
    statement = select(Product).where(Product.id > after).order_by(Product.id).limit(limit + 1)
    if category_id is not None:
        statement = statement.where(Product.category_id.in_(taxonomy.below(category_id)))
    return (await session.scalars(statement)).all()


async def change(
    session: AsyncSession, embedder: Embedder, id_: int, data: ProductChange
) -> Product:
    """Change a product; raises `ProductNotFoundError` and `UnknownCategoryError`."""
    # Locked: its embedding is of all its words, also of those that another request changes now.
    product = await get(session, id_, with_for_update=True)
    for name, value in msgspec.structs.asdict(data).items():
        if value is not msgspec.UNSET:
            setattr(product, name, value)
    product.embedding = embedder.embed(product.name, product.description)
    await _flush(session, product)
    return product


async def remove(session: AsyncSession, id_: int) -> None:
    """Delete a product and its prices; raises `ProductNotFoundError`."""
    statement = delete(Product).where(Product.id == id_).returning(Product.id)
    if (await session.scalars(statement)).one_or_none() is None:
        raise _not_found(id_)


async def _flush(session: AsyncSession, product: Product) -> None:
    problems = {
        "products_tenant_id_sku_key": SkuTakenError(f"There is a product {product.sku!r}."),
        "products_category_id_fkey": UnknownCategoryError(
            f"There is no category {product.category_id}."
        ),
    }
    with translated(problems):
        await session.flush()


def _not_found(id_: int) -> ProductNotFoundError:
    return ProductNotFoundError(f"There is no product {id_}.")
