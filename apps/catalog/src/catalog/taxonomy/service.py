"""What is done with the taxonomy."""

import csv
from collections.abc import Sequence
from importlib import resources

from sqlalchemy import Select, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from catalog.problems import translated
from catalog.taxonomy.errors import CategoryNotFoundError, CycleError, SlugTakenError
from catalog.taxonomy.models import Category


async def get(session: AsyncSession, id_: int) -> Category:
    """Return a category; raises `CategoryNotFoundError`."""
    category = await session.get(Category, id_)
    if category is None:
        raise _not_found(id_)
    return category


async def children(session: AsyncSession, id_: int | None) -> Sequence[Category]:
    """Return what lies directly below a category, or the roots, by name."""
    statement = select(Category).where(Category.parent_id.is_not_distinct_from(id_))
    return (await session.scalars(statement.order_by(Category.name, Category.id))).all()


async def path(session: AsyncSession, category: Category) -> Sequence[Category]:
    """Return what lies above a category, the root first."""
    above = (
        select(Category.id, Category.parent_id, literal(0).label("height"))
        .where(Category.id == category.parent_id)
        .cte("above", recursive=True)
    )
    parent = aliased(Category)
    above = above.union_all(
        select(parent.id, parent.parent_id, above.c.height + 1).join(
            above, parent.id == above.c.parent_id
        )
    )
    statement = select(Category).join(above, Category.id == above.c.id)
    return (await session.scalars(statement.order_by(above.c.height.desc()))).all()


def below(id_: int) -> Select[tuple[int]]:
    """Select a category and all that lie below it, by id."""
    found = select(Category.id).where(Category.id == id_).cte("found", recursive=True)
    child = aliased(Category)
    found = found.union_all(select(child.id).join(found, child.parent_id == found.c.id))
    return select(found.c.id)


async def move(session: AsyncSession, id_: int, parent_id: int | None) -> Category:
    """Put a category, with all below it, below another, or make it a root.

    Raises:
        CategoryNotFoundError: one of the two does not exist.
        CycleError: the other is the category itself, or lies below it; also when two moves at the
            same time would close a cycle together.
        SlugTakenError: the other has a child of that slug.
    """
    category = await get(session, id_)
    category.parent_id = parent_id
    problems = {
        "categories_parent_id_fkey": _not_found(parent_id),
        "categories_stay_a_forest": CycleError(f"Category {parent_id} lies below {id_}, or is it."),
        "categories_parent_id_slug_key": SlugTakenError(
            f"There is a category {category.slug!r} below {parent_id}."
        ),
    }
    with translated(problems):
        await session.flush()
    return category


async def seed(session: AsyncSession) -> None:
    """Write the categories that every installation begins with, unless they are there."""
    with (
        resources.files("catalog.taxonomy").joinpath("taxonomy.csv").open(encoding="utf-8") as file
    ):
        rows = [
            {
                "id": int(row["id"]),
                "parent_id": int(row["parent_id"]) if row["parent_id"] else None,
                "slug": row["slug"],
                "name": row["name"],
            }
            for row in csv.DictReader(file)
        ]
    await session.execute(insert(Category).on_conflict_do_nothing(), rows)
    await session.execute(
        text("SELECT setval('categories_id_seq', (SELECT max(id) FROM categories))")
    )


def _not_found(id_: int | None) -> CategoryNotFoundError:
    return CategoryNotFoundError(f"There is no category {id_}.")
