"""A shop: publishes events to endpoints, and sees what becomes of them."""

from dataclasses import dataclass

from pydantic import HttpUrl
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from jobs.deliveries.models import Delivery
from jobs.endpoints import service as endpoints
from jobs.endpoints.models import Endpoint
from jobs.endpoints.schemas import EndpointIn
from jobs.events import service as events


@dataclass(frozen=True)
class Shop:
    """Publish events to a receiver's endpoint, and see what became of them."""

    sessionmaker: async_sessionmaker[AsyncSession]

    async def subscribe(self, url: str, *event_types: str) -> Endpoint:
        """Add an endpoint."""
        async with self.sessionmaker.begin() as session:
            data = EndpointIn(url=HttpUrl(url), event_types=list(event_types))
            return await endpoints.create(session, data)

    async def publish(self, type_: str = "order.placed", **payload: object) -> int:
        """Publish an event, and commit."""
        async with self.sessionmaker.begin() as session:
            return (await events.publish(session, type_, payload)).id

    async def deliveries(self) -> list[Delivery]:
        """Return all deliveries, the first one first."""
        async with self.sessionmaker() as session:
            return list(await session.scalars(select(Delivery).order_by(Delivery.id)))
