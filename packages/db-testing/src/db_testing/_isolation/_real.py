"""Real connections of commit isolation, as new for each test without being opened anew.

Opening one takes 3-5 ms, and 23 ms with the first enum that is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import asyncpg

from .._server._admin import WIRE_ERRORS

if TYPE_CHECKING:
    Base = asyncpg.Connection[asyncpg.Record]
else:
    Base = asyncpg.Connection

PATIENCE: Final = 5.0
"""Seconds for a connection to be made as new."""

RESET: Final = """
    CLOSE ALL; UNLISTEN *; RESET SESSION AUTHORIZATION; RESET ALL; DISCARD TEMP; DISCARD SEQUENCES;
    SELECT pg_advisory_unlock_all(); SELECT pg_stat_force_next_flush();
    SELECT FROM pg_prepared_statements WHERE from_sql
"""
"""Undo what a session keeps, and hand in what it has counted. SQL that was prepared is told of."""

NOTHING_PREPARED: Final = "SELECT 0"

OF_SQLALCHEMY: Final = [("json", "pg_catalog"), ("jsonb", "pg_catalog")]
"""The types for which SQLAlchemy's dialect sets a codec, once, on each new connection."""


class RealConnection(Base):
    """A connection that knows whether it can be used by another test."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._codecs: list[tuple[str, str]] = []

    async def set_type_codec(
        self, typename: str, *, schema: str = "public", **options: Any
    ) -> None:
        self._codecs.append((typename, schema))
        await super().set_type_codec(typename, schema=schema, **options)

    async def set_builtin_type_codec(self, typename: str, **options: Any) -> None:
        self._codecs.append((typename, options.get("schema", "public")))
        await super().set_builtin_type_codec(typename, **options)

    def get_reset_query(self) -> str:
        return ""  # for renewed() wants to know what the server answers

    async def renewed(self) -> bool:
        """Make it as new; false if that cannot be done."""
        if self.is_closed() or self.is_in_transaction():
            return False
        try:
            await self.reset(timeout=PATIENCE)
            status = await self.execute(RESET, timeout=PATIENCE)
        except WIRE_ERRORS:
            return False  # the server or the test has ended it, or it is in use
        return status == NOTHING_PREPARED and self._codecs in ([], OF_SQLALCHEMY)
