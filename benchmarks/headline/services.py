"""What a shop does. Each operation commits by itself, as applications do."""

import decimal
from typing import Any

from models import Shop
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession


class Taken(Exception):  # noqa: N818  # a state, not a failure
    """Another customer has that address."""


class NotPayable(Exception):  # noqa: N818  # as above
    """The order is not open."""


async def register(session: AsyncSession, shop: Shop, email: str, name: str) -> Any:
    """Add a customer.

    Raises:
        Taken: the address is another's.
    """
    customer = shop.customer(email=email, name=name)
    session.add(customer)
    try:
        await session.commit()
    except IntegrityError:
        await session.rollback()
        raise Taken(email) from None
    return customer


async def place(session: AsyncSession, shop: Shop, customer_id: int, lines: list[Any]) -> Any:
    """Place an order."""
    order = shop.order(customer_id=customer_id)
    session.add(order)
    await session.flush()
    session.add_all(
        shop.line(order_id=order.id, product=product, quantity=quantity, price=price)
        for product, quantity, price in lines
    )
    await session.commit()
    return order


async def total(session: AsyncSession, shop: Shop, order_id: int) -> decimal.Decimal:
    """Add up an order."""
    summed = func.coalesce(func.sum(shop.line.quantity * shop.line.price), 0)
    statement = select(summed).where(shop.line.order_id == order_id)
    summed_up: decimal.Decimal = (await session.execute(statement)).scalar_one()
    return summed_up


async def pay(session: AsyncSession, shop: Shop, order_id: int) -> Any:
    """Pay an order.

    Raises:
        NotPayable: it is not open.
    """
    order = await session.get(shop.order, order_id, with_for_update=True)
    if order is None or order.state != "open":
        await session.rollback()
        raise NotPayable(order_id)
    order.state = "paid"
    payment = shop.payment(order_id=order_id, amount=await total(session, shop, order_id))
    session.add(payment)
    await session.commit()
    return payment


async def orders_of(session: AsyncSession, shop: Shop, customer_id: int) -> list[Any]:
    """List a customer's orders."""
    statement = select(shop.order).where(shop.order.customer_id == customer_id)
    return list((await session.execute(statement.order_by(shop.order.id))).scalars())
