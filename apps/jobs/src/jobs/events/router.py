"""Events over HTTP."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from jobs.database import RequestSession
from jobs.events import service
from jobs.events.schemas import EventIn, EventOut
from jobs.fields import PathId
from jobs.pagination import Page, PageQuery, page

router = APIRouter(prefix="/events", tags=["events"])


@router.post("", status_code=HTTPStatus.CREATED)
async def publish(data: EventIn, session: RequestSession) -> EventOut:
    """Publish an event to the endpoints that want it."""
    return EventOut.model_validate(await service.publish(session, data.type, data.payload))


@router.get("")
async def list_all(query: Annotated[PageQuery, Query()], session: RequestSession) -> Page[EventOut]:
    """List events, newest first."""
    found = await service.list_page(session, query)
    shown = [EventOut.model_validate(event) for event in found]
    return page(shown, [event.id for event in found], query)


@router.get("/{event_id}")
async def get(event_id: PathId, session: RequestSession) -> EventOut:
    """Show an event."""
    return EventOut.model_validate(await service.get(session, event_id))
