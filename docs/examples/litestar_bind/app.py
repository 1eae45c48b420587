from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, post
from litestar.params import FromQuery
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine("postgresql+asyncpg://production/shop")
sessionmaker = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@post("/items")
async def create_item(name: FromQuery[str]) -> int:
    async with sessionmaker.begin() as session:
        session.add(item := Item(name=name))
    return item.id


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = Litestar([create_item], lifespan=[lifespan])
