from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine("postgresql+asyncpg://production/shop")
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    stock: Mapped[int]


async def receive(session: AsyncSession, name: str, count: int) -> Item:
    item = await session.scalar(select(Item).where(Item.name == name).with_for_update())
    if item is None:
        session.add(item := Item(name=name, stock=0))
    item.stock += count
    await session.commit()
    return item


async def sell(name: str) -> None:
    async with sessions.begin() as session:
        item = await session.scalar(select(Item).where(Item.name == name).with_for_update())
        if item is None or item.stock == 0:
            raise LookupError(name)
        item.stock -= 1
