"""What is done with items."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from {{ name | snake_case }}.items.errors import NameTakenError
from {{ name | snake_case }}.items.models import Item


async def add(session: AsyncSession, name: str) -> Item:
    """Add an item.

    Raises:
        NameTakenError: there is one of that name; two requests at the same time included.
    """
    statement = insert(Item).values(name=name).on_conflict_do_nothing().returning(Item)
    item = (await session.scalars(statement)).one_or_none()
    if item is None:
        raise NameTakenError(name)
    return item


async def list_all(session: AsyncSession) -> Sequence[Item]:
    """Return all items, by name."""
    return (await session.scalars(select(Item).order_by(Item.name))).all()
