"""Schemas that SQLAlchemy's `create_all` builds."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from ._values import without_addresses

if TYPE_CHECKING:
    from sqlalchemy import MetaData
    from sqlalchemy.engine import URL


class Metadata:
    """The tables of some metadata."""

    def __init__(self, metadata: tuple[MetaData, ...]) -> None:
        self._metadata = metadata

    def __repr__(self) -> str:
        tables = sum(len(metadata.tables) for metadata in self._metadata)
        return f"Schema.from_metadata(...)  # {tables} tables"

    @property
    def lacks_tables(self) -> bool:
        """Whether there is metadata, but none of it knows a table."""
        return bool(self._metadata) and not any(each.tables for each in self._metadata)

    def fingerprint(self) -> str:
        from sqlalchemy.dialects.postgresql.asyncpg import dialect
        from sqlalchemy.schema import AddConstraint, CreateIndex

        rendered: list[str] = []
        postgresql = dialect()

        def render(statement: Any, parameters: Any) -> str:
            compiled = statement.compile(dialect=postgresql)
            return f"{compiled} {compiled.params or ''} {parameters or ''}"

        for metadata in self._metadata:
            recorded = _recorded(metadata)
            for kind, group in itertools.groupby(recorded, lambda each: type(each[0])):
                statements = [render(*each) for each in group]
                # SQLAlchemy has these in sets, and so in another order in each process.
                unordered = issubclass(kind, AddConstraint | CreateIndex)
                rendered += sorted(statements) if unordered else statements
        return without_addresses("\n".join(rendered))

    def apply(self, url: URL) -> None:
        asyncio.run(self._create_all(url))

    async def _create_all(self, url: URL) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool
        from sqlalchemy.schema import CreateSchema

        engine = create_async_engine(url, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                for metadata in self._metadata:
                    for name in _schemas_of(metadata):
                        await connection.execute(CreateSchema(name, if_not_exists=True))
                    await connection.run_sync(metadata.create_all)
        finally:
            await engine.dispose()


def _recorded(metadata: MetaData) -> list[tuple[Any, Any]]:
    """Return what `create_all` would execute, event listeners included, with its parameters."""
    from sqlalchemy.dialects.postgresql.asyncpg import dialect
    from sqlalchemy.engine.mock import MockConnection
    from sqlalchemy.sql import text

    recorded: list[tuple[Any, Any]] = []

    def record(statement: Any, parameters: Any = None) -> None:
        recorded.append((statement, parameters))

    class Recorder(MockConnection):
        def exec_driver_sql(self, statement: str, parameters: Any = None) -> None:
            record(text(statement.replace(":", r"\:")), parameters)

    metadata.create_all(Recorder(dialect(), record), checkfirst=False)
    return recorded


def _schemas_of(metadata: MetaData) -> list[str]:
    """Return the named schemas that tables, enums and sequences lie in."""
    elements = (getattr(statement, "element", None) for statement, _ in _recorded(metadata))
    names = (getattr(element, "schema", None) for element in elements)
    return sorted({name for name in names if name})
