"""Fifty tables: ten kinds of shop, each with customers, orders, lines, payments and notes."""

import datetime as dt
import decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import CheckConstraint, ForeignKey, MetaData, Numeric, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SHOPS: Final = 10


metadata = MetaData()


class Shop(NamedTuple):
    """The models of one shop."""

    customer: Any
    order: Any
    line: Any
    payment: Any
    note: Any


def make(number: int) -> Shop:
    """Make the models of one shop."""

    class Base(DeclarativeBase):
        pass

    Base.metadata = metadata

    class Customer(Base):
        __tablename__ = f"shop{number}_customers"
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(unique=True)
        name: Mapped[str]
        since: Mapped[dt.datetime] = mapped_column(server_default=func.now())

    class Order(Base):
        __tablename__ = f"shop{number}_orders"
        __table_args__ = (CheckConstraint("state IN ('open', 'paid', 'shipped')"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        customer_id: Mapped[int] = mapped_column(ForeignKey(Customer.id), index=True)
        state: Mapped[str] = mapped_column(server_default="open")

    class Line(Base):
        __tablename__ = f"shop{number}_lines"
        __table_args__ = (CheckConstraint("quantity > 0"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        order_id: Mapped[int] = mapped_column(ForeignKey(Order.id), index=True)
        product: Mapped[str]
        quantity: Mapped[int]
        price: Mapped[decimal.Decimal] = mapped_column(Numeric(12, 2))

    class Payment(Base):
        __tablename__ = f"shop{number}_payments"
        id: Mapped[int] = mapped_column(primary_key=True)
        order_id: Mapped[int] = mapped_column(ForeignKey(Order.id), unique=True)
        amount: Mapped[decimal.Decimal] = mapped_column(Numeric(12, 2))

    class Note(Base):
        __tablename__ = f"shop{number}_notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        customer_id: Mapped[int] = mapped_column(ForeignKey(Customer.id), index=True)
        text: Mapped[str]

    return Shop(Customer, Order, Line, Payment, Note)


shops = [make(number) for number in range(SHOPS)]
