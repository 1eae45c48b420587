from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

SESSION_OPTIONS = {"class_": AsyncSession, "expire_on_commit": False}


class Hero(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True)


async def recruit(session: AsyncSession, name: str) -> Hero:
    session.add(hero := Hero(name=name))
    await session.commit()
    return hero
