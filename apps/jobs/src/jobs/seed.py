"""Demo data, for `dev`: an endpoint and two orders. Does nothing where there is an endpoint.

python -m jobs.seed
"""

import asyncio
from decimal import Decimal

from pydantic import HttpUrl
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.database import create_engine, create_sessionmaker
from jobs.endpoints import service as endpoints
from jobs.endpoints.schemas import EndpointIn
from jobs.orders import service as orders
from jobs.orders.schemas import OrderIn
from jobs.pagination import PageQuery
from jobs.settings import Settings


async def seed(session: AsyncSession) -> None:
    """Add demo data in the session's transaction."""
    if await endpoints.list_page(session, PageQuery(limit=1)):
        return
    # Nothing listens there: its deliveries show retries and, in the end, dead letters.
    await endpoints.create(session, EndpointIn(url=HttpUrl("http://127.0.0.1:9/webhooks")))
    for customer, total in (("Ada", "12.30"), ("Grace", "99.00")):
        await orders.place(session, OrderIn(customer=customer, total=Decimal(total)))


async def run(settings: Settings) -> None:
    """Add demo data to the database that the settings name."""
    engine = create_engine(settings)
    try:
        async with create_sessionmaker(engine).begin() as session:
            await seed(session)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(run(Settings()))
