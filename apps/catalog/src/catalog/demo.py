"""Demo data, for `dev` and load tests."""

from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from catalog import tenants
from catalog.database import become
from catalog.embedding import HashingEmbedder
from catalog.prices import service as prices
from catalog.prices.schemas import PriceIn
from catalog.products import service as products
from catalog.products.schemas import ProductIn

KEY = "demo"

PRODUCTS = (
    ("PAN-24", "Frying pan", "Cast iron, 24 cm, for all kinds of stoves.", 3, "39.90"),
    ("MUG-1", "Mug", "Stoneware, holds a third of a litre.", 4, "9.50"),
    ("KTL-2", "Kettle", "Boils two litres of water quickly.", 5, "49.00"),
    ("CHR-OAK", "Oak chair", "A chair for the dining table, of solid oak.", 7, "129.00"),
    ("LMP-RD", "Reading lamp", "A floor lamp with a warm light beside the sofa.", 9, "89.00"),
    ("SPD-3", "Spade", "Digs, and is sharpened at the edge.", 11, "24.90"),
    ("HPH-NC", "Headphones", "Closed, and quiet in trains.", 16, "199.00"),
)


async def sow(session: AsyncSession) -> bool:
    """Add a tenant with the key `demo`, and its products; tell whether it was not there."""
    if (await session.execute(text("SELECT id FROM tenants WHERE name = 'demo'"))).one_or_none():
        return False
    tenant, _ = await tenants.add(session, "demo", key=KEY)
    await become(session, tenant.id)
    for sku, name, description, category_id, amount in PRODUCTS:
        data = ProductIn(sku=sku, name=name, description=description, category_id=category_id)
        product = await products.create(session, HashingEmbedder(), tenant.id, data)
        await prices.put(session, product.id, PriceIn("EUR", Decimal(amount)))
    return True
