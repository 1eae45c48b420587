"""The shops over HTTP."""

import decimal
from collections.abc import AsyncIterator
from typing import Annotated

import services
from fastapi import Depends, FastAPI, HTTPException
from models import shops
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


class NewCustomer(BaseModel):
    """A customer to be."""

    email: str
    name: str


class NewLine(BaseModel):
    """A line of an order."""

    product: str
    quantity: int
    price: decimal.Decimal


class NewOrder(BaseModel):
    """An order to be."""

    customer_id: int
    lines: list[NewLine]


def create_app(sessionmaker: async_sessionmaker[AsyncSession]) -> FastAPI:
    """Serve all shops."""
    app = FastAPI()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessionmaker() as session:
            yield session

    Session = Annotated[AsyncSession, Depends(session)]  # noqa: N806  # a type

    @app.post("/shops/{shop}/customers", status_code=201)
    async def register(shop: int, new: NewCustomer, session: Session) -> dict[str, int]:
        try:
            customer = await services.register(session, shops[shop], new.email, new.name)
        except services.Taken as error:
            raise HTTPException(409, str(error)) from None
        return {"id": customer.id}

    @app.post("/shops/{shop}/orders", status_code=201)
    async def place(shop: int, new: NewOrder, session: Session) -> dict[str, int]:
        lines = [(line.product, line.quantity, line.price) for line in new.lines]
        order = await services.place(session, shops[shop], new.customer_id, lines)
        return {"id": order.id}

    @app.post("/shops/{shop}/orders/{order}/payment", status_code=201)
    async def pay(shop: int, order: int, session: Session) -> dict[str, str]:
        try:
            payment = await services.pay(session, shops[shop], order)
        except services.NotPayable as error:
            raise HTTPException(409, str(error)) from None
        return {"amount": str(payment.amount)}

    @app.get("/shops/{shop}/customers/{customer}/orders")
    async def orders(shop: int, customer: int, session: Session) -> list[dict[str, str]]:
        found = await services.orders_of(session, shops[shop], customer)
        return [{"id": str(order.id), "state": order.state} for order in found]

    return app
