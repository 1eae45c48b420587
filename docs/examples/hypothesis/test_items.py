from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from hypothesis import given, settings
from hypothesis import strategies as st
from models import Item
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")))


@settings(deadline=None, max_examples=25)
@given(names=NAMES)
async def test_names_come_back(
    db_layer: Callable[[], AbstractAsyncContextManager[AsyncSession]], names: list[str]
) -> None:
    async with db_layer() as session:  # what it commits is gone before the next example
        session.add_all(Item(name=name) for name in names)
        await session.commit()
        found = (await session.scalars(select(Item.name).order_by(Item.id))).all()
        assert found == names
