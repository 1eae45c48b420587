from collections.abc import AsyncIterator, Callable

from litestar import Litestar, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@post("/items")
async def create_item(name: FromQuery[str], session: NamedDependency[AsyncSession]) -> int:
    session.add(item := Item(name=name))
    await session.commit()
    return item.id


def create_app(sessionmaker: Callable[[], AsyncSession] | None = None) -> Litestar:
    if sessionmaker is None:
        engine = create_async_engine("postgresql+asyncpg://production/shop")
        sessionmaker = async_sessionmaker(engine, expire_on_commit=False)

    async def provide_session() -> AsyncIterator[AsyncSession]:
        async with sessionmaker() as session:
            yield session

    return Litestar([create_item], dependencies={"session": Provide(provide_session)})
