"""What is done with endpoints."""

import secrets

from sqlalchemy import any_, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.endpoints.errors import EndpointNotFoundError
from jobs.endpoints.models import Endpoint
from jobs.endpoints.schemas import EndpointChange, EndpointIn
from jobs.pagination import PageQuery, paged

_SECRET_BYTES = 32


async def create(session: AsyncSession, data: EndpointIn) -> Endpoint:
    """Add an endpoint, with a secret of its own."""
    endpoint = Endpoint(
        url=str(data.url),
        event_types=data.event_types,
        secret=secrets.token_bytes(_SECRET_BYTES),
    )
    session.add(endpoint)
    await session.flush()
    return endpoint


async def get(session: AsyncSession, id_: int) -> Endpoint:
    """Return an endpoint; raises `EndpointNotFoundError`."""
    endpoint = await session.get(Endpoint, id_)
    if endpoint is None:
        message = f"There is no endpoint {id_}."
        raise EndpointNotFoundError(message)
    return endpoint


async def list_page(session: AsyncSession, query: PageQuery) -> list[Endpoint]:
    """Return one page, and one endpoint more if another page follows."""
    return list(await session.scalars(paged(select(Endpoint), Endpoint.id, query)))


async def change(session: AsyncSession, id_: int, data: EndpointChange) -> Endpoint:
    """Change an endpoint; raises `EndpointNotFoundError`."""
    endpoint = await get(session, id_)
    if data.url is not None:
        endpoint.url = str(data.url)
    if data.event_types is not None:
        endpoint.event_types = data.event_types
    if data.active is not None:
        endpoint.active = data.active
    await session.flush()
    return endpoint


async def wanting(session: AsyncSession, event_type: str) -> list[int]:
    """Return the active endpoints that want events of a type."""
    wants = or_(
        func.cardinality(Endpoint.event_types) == 0,
        literal(event_type) == any_(Endpoint.event_types),
    )
    statement = select(Endpoint.id).where(Endpoint.active, wants).order_by(Endpoint.id)
    return list(await session.scalars(statement))
