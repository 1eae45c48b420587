"""Orders over HTTP."""

from http import HTTPStatus

from fastapi import APIRouter

from jobs.database import RequestSession
from jobs.fields import PathId
from jobs.orders import service
from jobs.orders.schemas import OrderIn, OrderOut

router = APIRouter(prefix="/orders", tags=["orders"])


@router.post("", status_code=HTTPStatus.CREATED)
async def place(data: OrderIn, session: RequestSession) -> OrderOut:
    """Place an order."""
    return OrderOut.model_validate(await service.place(session, data))


@router.get("/{order_id}")
async def get(order_id: PathId, session: RequestSession) -> OrderOut:
    """Show an order."""
    return OrderOut.model_validate(await service.get(session, order_id))


@router.post("/{order_id}/payment")
async def pay(order_id: PathId, session: RequestSession) -> OrderOut:
    """Pay an order."""
    return OrderOut.model_validate(await service.pay(session, order_id))
