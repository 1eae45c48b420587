"""What is done with prices.

They are only ever added, or corrected in their place, until their product is deleted.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.prices.errors import InvalidPriceError, NoPriceError
from catalog.prices.models import Price
from catalog.prices.schemas import PriceIn
from catalog.products import service as products

_LIMIT = Decimal(10) ** 10
_CENT = Decimal("0.01")
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


async def put(session: AsyncSession, product_id: int, data: PriceIn) -> Price:
    """Set what a product costs from a moment on.

    Raises:
        ProductNotFoundError: there is no such product of the tenant's.
        InvalidPriceError: the amount has more than two decimals, is negative or too large; or the
            moment lies before 1970 or after 2199.
    """
    product = await products.get(  # FOR KEY SHARE: it stays until the price is there
        session, product_id, with_for_update={"read": True, "key_share": True}
    )
    amount, valid_from = _checked(data)
    values = {
        "tenant_id": product.tenant_id,
        "product_id": product_id,
        "currency": data.currency,
        "valid_from": valid_from,
        "amount": amount,
    }
    statement = insert(Price).values(values)
    statement = statement.on_conflict_do_update(
        index_elements=[Price.product_id, Price.currency, Price.valid_from],
        set_={"amount": statement.excluded.amount},
    )
    return (
        await session.scalars(
            statement.returning(Price), execution_options={"populate_existing": True}
        )
    ).one()


async def at(session: AsyncSession, product_id: int, currency: str, moment: datetime) -> Price:
    """Return what a product cost at a moment.

    Raises:
        ProductNotFoundError: there is no such product of the tenant's.
        InvalidPriceError: the moment lies before 1970 or after 2199.
        NoPriceError: it had no price in that currency then.
    """
    await products.get(session, product_id)
    statement = (
        select(Price)
        .where(
            Price.product_id == product_id,
            Price.currency == currency,
            Price.valid_from <= _possible(moment),
        )
        .order_by(Price.valid_from.desc())
        .limit(1)
    )
    price = (await session.scalars(statement)).one_or_none()
    if price is None:
        message = f"Product {product_id} had no price in {currency} at {moment.isoformat()}."
        raise NoPriceError(message)
    return price


async def history(session: AsyncSession, product_id: int, limit: int) -> Sequence[Price]:
    """Return a product's newest prices, the newest first; raises `ProductNotFoundError`."""
    await products.get(session, product_id)
    statement = (
        select(Price)
        .where(Price.product_id == product_id)
        .order_by(Price.valid_from.desc(), Price.currency)
        .limit(limit)
    )
    return (await session.scalars(statement)).all()


def _checked(data: PriceIn) -> tuple[Decimal, datetime]:
    amount = data.amount
    if not amount.is_finite() or not 0 <= amount < _LIMIT or amount != round(amount, 2):
        message = f"{amount} is no amount: two decimals, from 0 to below {_LIMIT:,}."
        raise InvalidPriceError(message)
    return amount.quantize(_CENT), _possible(data.valid_from or datetime.now(UTC))


def _possible(moment: datetime) -> datetime:
    if not _FIRST <= moment < _LAST:
        message = f"{moment.isoformat()} is no moment from 1970 to 2199."
        raise InvalidPriceError(message)
    return moment
