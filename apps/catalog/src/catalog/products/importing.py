"""Importing many products: COPY into a temporary table, then one statement.

PostgreSQL refuses COPY into a table with row-level security, and it could not update what is there.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import cast

import asyncpg
import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.embedding import Embedder
from catalog.products.errors import BadLineError
from catalog.products.schemas import Imported, ProductIn

_STAGE = text("""
    CREATE TEMPORARY TABLE staged (
        line int, sku text, name text, description text, category_id bigint, attributes text,
        embedding text
    ) ON COMMIT DROP
""")
_COLUMNS = ("line", "sku", "name", "description", "category_id", "attributes", "embedding")

_TWICE = text("SELECT max(line), sku FROM staged GROUP BY sku HAVING count(*) > 1 LIMIT 1")
_UNKNOWN = text("""
    SELECT line, category_id FROM staged
    WHERE NOT EXISTS (SELECT FROM categories WHERE id = category_id) ORDER BY line LIMIT 1
""")
# In one order: two at the same time that lock the same products would wait for each other.
_MERGE = text("""
    INSERT INTO products (tenant_id, sku, name, description, category_id, attributes, embedding)
    SELECT :tenant, sku, name, description, category_id, attributes::jsonb, embedding::vector
    FROM staged ORDER BY sku
    ON CONFLICT (tenant_id, sku) DO UPDATE SET
        name = excluded.name, description = excluded.description,
        category_id = excluded.category_id, attributes = excluded.attributes,
        embedding = excluded.embedding
    RETURNING xmax = 0 AS created
""")

_decoder = msgspec.json.Decoder(ProductIn)


async def import_products(
    session: AsyncSession, embedder: Embedder, tenant_id: int, content: bytes
) -> Imported:
    """Add the products of a file (a JSON object on each line), or renew those of the same SKU.

    All of them or none; raises `BadLineError`.
    """
    await session.execute(_STAGE)
    raw = await (await session.connection()).get_raw_connection()
    connection = cast("asyncpg.Connection", raw.driver_connection)
    records = await asyncio.to_thread(lambda: list(_records(content, embedder)))
    await connection.copy_records_to_table("staged", records=records, columns=_COLUMNS)
    twice = (await session.execute(_TWICE)).one_or_none()
    if twice is not None:
        message = f"Line {twice[0]}: {twice.sku!r} stands in the file already."
        raise BadLineError(message)
    unknown = (await session.execute(_UNKNOWN)).one_or_none()
    if unknown is not None:
        message = f"Line {unknown.line}: there is no category {unknown.category_id}."
        raise BadLineError(message)
    created = list(await session.scalars(_MERGE, {"tenant": tenant_id}))
    return Imported(created=sum(created), updated=len(created) - sum(created))


def _records(content: bytes, embedder: Embedder) -> Iterator[tuple[object, ...]]:
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            data = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"Line {number}: {error}"
            raise BadLineError(message) from None
        yield (
            number,
            data.sku,
            data.name,
            data.description,
            data.category_id,
            json.dumps(data.attributes),
            str(embedder.embed(data.name, data.description)),
        )
