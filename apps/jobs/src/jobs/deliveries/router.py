"""Deliveries over HTTP: what became of events, and what to do with dead letters."""

from typing import Annotated

from fastapi import APIRouter, Query

from jobs.database import RequestSession
from jobs.deliveries import service
from jobs.deliveries.schemas import AttemptOut, DeliveryDetails, DeliveryOut, DeliveryQuery
from jobs.fields import PathId
from jobs.pagination import Page, page

router = APIRouter(prefix="/deliveries", tags=["deliveries"])


@router.get("")
async def list_all(
    query: Annotated[DeliveryQuery, Query()], session: RequestSession
) -> Page[DeliveryOut]:
    """List deliveries, newest first; `state=dead` are the dead letters."""
    found = await service.list_page(session, query)
    shown = [DeliveryOut.model_validate(delivery) for delivery in found]
    return page(shown, [delivery.id for delivery in found], query)


@router.get("/{delivery_id}")
async def get(delivery_id: PathId, session: RequestSession) -> DeliveryDetails:
    """Show a delivery with its attempts."""
    shown = DeliveryOut.model_validate(await service.get(session, delivery_id))
    attempts = await service.attempts(session, delivery_id)
    return DeliveryDetails(
        **shown.model_dump(), attempts=[AttemptOut.model_validate(each) for each in attempts]
    )


@router.post("/{delivery_id}/retry")
async def retry(delivery_id: PathId, session: RequestSession) -> DeliveryOut:
    """Have a dead letter sent again, as often as a new delivery."""
    return DeliveryOut.model_validate(await service.retry(session, delivery_id))


@router.post("/{delivery_id}/discard")
async def discard(delivery_id: PathId, session: RequestSession) -> DeliveryOut:
    """Give a dead letter up."""
    return DeliveryOut.model_validate(await service.discard(session, delivery_id))
