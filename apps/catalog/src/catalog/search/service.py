"""Searching, with SQLAlchemy Core: three rankings, and their fusion."""

import html
from collections.abc import Sequence
from typing import Any

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    MetaData,
    Select,
    Table,
    Text,
    cast,
    func,
    literal,
    select,
    text,
    union_all,
)
from sqlalchemy import types as sql
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.database import DIMENSIONS
from catalog.embedding import Embedder
from catalog.search.schemas import Hit, Mode
from catalog.taxonomy import service as taxonomy

# Only what a search reads; the ORM's model is that of writing.
products = Table(
    "products",
    MetaData(),
    Column("id", sql.BigInteger),
    Column("sku", Text),
    Column("name", Text),
    Column("description", Text),
    Column("category_id", sql.BigInteger),
    Column("document", TSVECTOR),
    Column("embedding", VECTOR(DIMENSIONS)),
)

RANKED = 60
"""How many of each ranking a fusion looks at; and what a rank is damped by.

Source: Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet, SIGIR 2009.
"""

# Taken out of the text before PostgreSQL puts them around the words: text cannot mark anything.
_START, _STOP = "\x02", "\x03"
_HEADLINE = f"StartSel={_START}, StopSel={_STOP}, MaxFragments=1, MaxWords=20, MinWords=5"


async def search(
    session: AsyncSession,
    embedder: Embedder,
    query: str,
    *,
    mode: Mode,
    category_id: int | None,
    limit: int,
) -> Sequence[Hit]:
    """Return the products that fit best, the best first."""
    # Exact within the first few hundred rows; without it HNSW may find too few of a tenant's own.
    await session.execute(text("SET LOCAL hnsw.iterative_scan = strict_order"))
    words = func.websearch_to_tsquery("english", query)
    within = None if category_id is None else taxonomy.below(category_id)
    if mode is Mode.HYBRID:
        ranked = _fused(query, words, embedder, within)
    else:
        ranked = _ranking(mode, query, words, embedder, within)
    found = ranked.limit(limit).subquery()
    content = products.c.name + " " + products.c.description
    unmarked = func.translate(content, _START + _STOP, "  ")
    shown = func.ts_headline("english", unmarked, words, _HEADLINE)
    statement = (
        select(products.c.id, products.c.sku, products.c.name, found.c.score, shown)
        .join(found, products.c.id == found.c.id)
        .order_by(found.c.score.desc(), products.c.id)
    )
    rows = await session.execute(statement)
    return [
        Hit(id_, sku, name, score, _marked_up(headline)) for id_, sku, name, score, headline in rows
    ]


def _marked_up(headline: str) -> str:
    """Make HTML of it: tenants write what they like, and whoever shows it trusts it."""
    return html.escape(headline).replace(_START, "<b>").replace(_STOP, "</b>")


def _ranking(
    mode: Mode,
    query: str,
    words: ColumnElement[Any],
    embedder: Embedder,
    within: Select[tuple[int]] | None,
) -> Select[Any]:
    """Select ids and scores, the best first."""
    if mode is Mode.WORDS:
        score = func.ts_rank_cd(products.c.document, words)
        statement = select(products.c.id, cast(score, Float).label("score")).where(
            products.c.document.bool_op("@@")(words)
        )
        order: ColumnElement[Any] = score.desc()
    elif mode is Mode.LIKENESS:
        score = func.word_similarity(query, products.c.name)
        statement = select(products.c.id, cast(score, Float).label("score")).where(
            literal(query).bool_op("<%")(products.c.name)
        )
        order = score.desc()
    else:
        distance = products.c.embedding.cosine_distance(embedder.embed(query))
        statement = select(products.c.id, (1 - distance).label("score"))
        order = distance
    if within is not None:
        statement = statement.where(products.c.category_id.in_(within))
    return statement.order_by(order, products.c.id)


def _fused(
    query: str, words: ColumnElement[Any], embedder: Embedder, within: Select[tuple[int]] | None
) -> Select[Any]:
    """Add up, over the rankings, the reciprocals of each product's ranks."""
    parts = []
    for mode in (Mode.WORDS, Mode.LIKENESS, Mode.MEANING):
        ranking = _ranking(mode, query, words, embedder, within).limit(RANKED).subquery()
        rank = func.row_number().over(order_by=[ranking.c.score.desc(), ranking.c.id])
        parts.append(select(ranking.c.id, (1.0 / (RANKED + rank)).label("part")))
    together = union_all(*parts).subquery()
    score = func.sum(together.c.part)
    return (
        select(together.c.id, cast(score, Float).label("score"))
        .group_by(together.c.id)
        .order_by(score.desc(), together.c.id)
    )
