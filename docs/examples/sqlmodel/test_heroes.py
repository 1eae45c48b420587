from heroes import Hero, recruit
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession


async def test_hero_is_recruited(db: AsyncSession) -> None:
    hero = await recruit(db, "Ada")
    assert hero.id == 1
    assert (await db.exec(select(Hero.name))).all() == ["Ada"]  # SQLModel's own method


async def test_next_test_knows_no_hero(db: AsyncSession) -> None:
    assert (await db.exec(select(Hero))).all() == []
