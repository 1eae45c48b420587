"""The outbox: an event is published in the transaction of what has happened, or not at all."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from jobs import queue
from jobs.events.errors import EventNotFoundError
from jobs.events.models import Event
from jobs.pagination import PageQuery, paged
from jobs.queue import JobName


async def publish(session: AsyncSession, type_: str, payload: Mapping[str, Any]) -> Event:
    """Record an event in the caller's transaction, and have it fanned out once that commits."""
    event = Event(type=type_, payload=dict(payload))
    session.add(event)
    await session.flush()
    await queue.enqueue(session, JobName.FAN_OUT, [event.id])
    return event


async def get(session: AsyncSession, id_: int) -> Event:
    """Return an event; raises `EventNotFoundError`."""
    event = await session.get(Event, id_)
    if event is None:
        message = f"There is no event {id_}."
        raise EventNotFoundError(message)
    return event


async def list_page(session: AsyncSession, query: PageQuery) -> list[Event]:
    """Return one page, and one event more if another page follows."""
    return list(await session.scalars(paged(select(Event), Event.id, query)))


async def untold(session: AsyncSession, id_: int) -> Event | None:
    """Return an event that has not been fanned out, locked; None if it has been, or is pruned."""
    event = await session.get(Event, id_, with_for_update=True)
    return None if event is None or event.fanned_out_at is not None else event


def mark_told(event: Event) -> None:
    """Record that an event has been fanned out, in the caller's transaction."""
    event.fanned_out_at = func.now()
