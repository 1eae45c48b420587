"""The taxonomy: a forest that stays one."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from httpx import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.database import Sessions
from catalog.taxonomy import service
from catalog.taxonomy.errors import CategoryNotFoundError, CycleError, SlugTakenError
from catalog.taxonomy.models import Category

HOME, KITCHEN, COOKWARE, FURNITURE, GARDEN, GARDEN_FURNITURE = 1, 2, 3, 6, 10, 12


async def test_roots_are_listed_by_name(ada: AsyncClient) -> None:
    """Every installation begins with these."""
    names = [root["name"] for root in (await ada.get("/categories")).json()]
    assert names == ["Electronics", "Garden", "Home"]


async def test_a_category_is_shown_in_its_place(ada: AsyncClient) -> None:
    """With what lies above it, the root first, and what lies below."""
    shown = (await ada.get(f"/categories/{KITCHEN}")).json()
    assert shown["category"]["slug"] == "kitchen"
    assert [each["slug"] for each in shown["path"]] == ["home"]
    assert [each["slug"] for each in shown["children"]] == ["appliances", "cookware", "tableware"]


async def test_a_path_leads_down_from_the_root(db: AsyncSession) -> None:
    """Over as many steps as there are."""
    path = await service.path(db, await service.get(db, COOKWARE))
    assert [category.id for category in path] == [HOME, KITCHEN]


async def test_a_root_has_nothing_above_it(ada: AsyncClient) -> None:
    """Its path is empty."""
    assert (await ada.get(f"/categories/{HOME}")).json()["path"] == []


@pytest.mark.parametrize("id_", ["12345", "0", str(2**63)])
async def test_what_does_not_exist_is_not_shown(ada: AsyncClient, id_: str) -> None:
    """Nor what cannot exist."""
    assert (await ada.get(f"/categories/{id_}")).status_code in {404, 422}


async def test_a_category_moves_with_all_below_it(db: AsyncSession) -> None:
    """Their paths change with its own."""
    await service.move(db, KITCHEN, GARDEN)
    path = await service.path(db, await service.get(db, COOKWARE))
    assert [category.id for category in path] == [GARDEN, KITCHEN]


async def test_a_category_becomes_a_root(db: AsyncSession) -> None:
    """It lies below nothing then."""
    await service.move(db, KITCHEN, None)
    assert KITCHEN in [category.id for category in await service.children(db, None)]


@pytest.mark.parametrize("target", [KITCHEN, COOKWARE])
async def test_no_category_moves_below_itself(db: AsyncSession, target: int) -> None:
    """Neither directly nor further down."""
    with pytest.raises(CycleError, match=str(target)):
        await service.move(db, KITCHEN, target)


async def test_no_category_moves_below_nothing(db: AsyncSession) -> None:
    """What it is to lie below must exist."""
    with pytest.raises(CategoryNotFoundError, match="12345"):
        await service.move(db, KITCHEN, 12345)


async def test_a_slug_is_taken_once_in_one_place(db: AsyncSession) -> None:
    """There is furniture in the garden already."""
    with pytest.raises(SlugTakenError, match="furniture"):
        await service.move(db, FURNITURE, GARDEN)


async def test_the_database_itself_keeps_slugs_apart(db: AsyncSession) -> None:
    """Of roots too, which lie below nothing."""
    with pytest.raises(DBAPIError):
        await db.execute(text("INSERT INTO categories (slug, name) VALUES ('home', 'Home')"))


@pytest.mark.parametrize(
    "values", ["(100, 100, 'a', 'A')", "(100, 101, 'a', 'A'), (101, 100, 'b', 'B')"]
)
async def test_the_database_itself_keeps_a_forest(db: AsyncSession, values: str) -> None:
    """Nothing is inserted below itself, nor below what is inserted below it."""
    with pytest.raises(DBAPIError, match="below itself"):
        await db.execute(
            text(f"INSERT INTO categories (id, parent_id, slug, name) VALUES {values}")
        )


async def test_seeding_again_changes_nothing(db: AsyncSession) -> None:
    """What was moved stays where it is, also above what it lay below."""
    await service.move(db, KITCHEN, GARDEN)
    await service.move(db, HOME, KITCHEN)
    await service.seed(db)
    assert (await service.get(db, KITCHEN)).parent_id == GARDEN
    added = text("INSERT INTO categories (slug, name) VALUES ('new', 'New') RETURNING id")
    assert (await db.execute(added)).scalar_one() == 21


@pytest.mark.db(isolation="commit")  # two connections that wait for each other
async def test_two_moves_close_no_cycle_together(db_sessionmaker: Sessions) -> None:
    """Each is harmless by itself; the second sees the first one, and is refused."""

    async def move(id_: int, parent_id: int) -> None:
        async with db_sessionmaker.begin() as session:
            await service.move(session, id_, parent_id)

    results = await asyncio.gather(
        move(KITCHEN, FURNITURE), move(FURNITURE, KITCHEN), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["CycleError", "NoneType"]


@pytest.mark.db(isolation="commit")  # two connections, one of which waits for the other
async def test_a_move_that_waits_for_another_has_locked_nothing(db_sessionmaker: Sessions) -> None:
    """Else the other's foreign key, which locks its new parent, would wait for it in turn."""
    waits = text("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")

    async def move() -> None:
        async with db_sessionmaker.begin() as session:
            await service.move(session, FURNITURE, KITCHEN)

    async with asyncio.TaskGroup() as tasks, db_sessionmaker.begin() as first:
        await first.execute(
            text("SELECT pg_advisory_xact_lock('categories'::regclass::oid::bigint)")
        )
        tasks.create_task(move())
        async with asyncio.timeout(10):
            while not (await first.execute(waits)).scalar_one():
                pass
        await first.execute(
            text("SELECT FROM categories WHERE id = :id FOR KEY SHARE NOWAIT"), {"id": FURNITURE}
        )


def _cyclic(parents: dict[int, int | None]) -> bool:
    for start in parents:
        seen: set[int] = set()
        here: int | None = start
        while here is not None:
            if here in seen:
                return True
            seen.add(here)
            here = parents[here]
    return False


IDS = st.integers(1, 20)


@given(moves=st.lists(st.tuples(IDS, IDS | st.none()), max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_random_moves_keep_a_forest(
    db_layer: Callable[[], AbstractAsyncContextManager[AsyncSession]],
    moves: list[tuple[int, int | None]],
) -> None:
    """A move is refused exactly if it would close a cycle or take a slug twice."""
    async with db_layer() as session:
        rows = (await session.scalars(select(Category))).all()
        parents: dict[int, int | None] = {row.id: row.parent_id for row in rows}
        slugs = {row.id: row.slug for row in rows}
        for id_, parent_id in moves:
            after = parents | {id_: parent_id}
            places = [(parent, slugs[each]) for each, parent in after.items()]
            allowed = not _cyclic(after) and len(places) == len(set(places))
            try:
                async with session.begin_nested():
                    await service.move(session, id_, parent_id)
            except (CycleError, SlugTakenError):
                assert not allowed
            else:
                assert allowed
                parents = after
        found = (await session.execute(select(Category.id, Category.parent_id))).all()
        assert {row.id: row.parent_id for row in found} == parents
