"""What is done with orders. Each change is published in its own transaction."""

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.events import service as events
from jobs.orders.errors import OrderNotFoundError, OrderPaidError
from jobs.orders.models import Order
from jobs.orders.schemas import OrderIn


async def place(session: AsyncSession, data: OrderIn) -> Order:
    """Add an order, and publish `order.placed`."""
    order = Order(customer=data.customer, total=data.total)
    session.add(order)
    await session.flush()
    await _publish(session, "order.placed", order)
    return order


async def get(session: AsyncSession, id_: int) -> Order:
    """Return an order; raises `OrderNotFoundError`."""
    order = await session.get(Order, id_)
    if order is None:
        raise _not_found(id_)
    return order


async def pay(session: AsyncSession, id_: int) -> Order:
    """Note a payment, and publish `order.paid`.

    Raises `OrderNotFoundError`, and `OrderPaidError` for the second of two payments, also when both
    come at the same time.
    """
    order = await session.get(Order, id_, with_for_update=True)
    if order is None:
        raise _not_found(id_)
    if order.paid_at is not None:
        message = f"Order {id_} was paid at {order.paid_at}."
        raise OrderPaidError(message)
    order.paid_at = func.now()
    await session.flush()
    await session.refresh(order)
    await _publish(session, "order.paid", order)
    return order


async def _publish(session: AsyncSession, type_: str, order: Order) -> None:
    payload = {"order": order.id, "customer": order.customer, "total": str(order.total)}
    await events.publish(session, type_, payload)


def _not_found(id_: int) -> OrderNotFoundError:
    return OrderNotFoundError(f"There is no order {id_}.")
