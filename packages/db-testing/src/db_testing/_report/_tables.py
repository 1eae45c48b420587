"""The statements of a report, and the tables that they name."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

from ._results import Query

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT: Final = 2000
"""Characters of a statement that a report keeps."""


def shortened(sql: str) -> str:
    """Return as much of a statement as reports keep."""
    return sql if len(sql) <= KEPT else f"{sql[:KEPT]}..."


def key(sql: str) -> str:
    """Return what a statement is called in reports."""
    # A program may have tried to send what is no Unicode.
    return hashlib.sha256(sql.encode(errors="backslashreplace")).hexdigest()[:12]


def queries(texts: Iterable[str]) -> dict[str, Query]:
    """Return statements by their keys, with the tables that they name."""
    logger = logging.getLogger("sqlglot")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it warns of what it cannot read, which then names none
    try:
        return {key(sql): Query(sql, _tables(sql)) for sql in sorted(set(texts))}
    finally:
        logger.setLevel(level)


def _tables(sql: str) -> tuple[str, ...]:
    """Name the tables and views of a statement, as far as it can be read."""
    import sqlglot
    from sqlglot import ErrorLevel, exp

    try:
        # What was shortened ends in the middle of something.
        trees = sqlglot.parse(sql, dialect="postgres", error_level=ErrorLevel.IGNORE)
    except sqlglot.errors.SqlglotError:
        return ()
    named = set()
    for tree in filter(None, trees):
        within = {each.alias_or_name for each in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            # In what ends in the middle, anything may stand where a name should.
            parts = [part for part in (table.args.get("db"), table.this) if part]
            names = [part.name for part in parts if isinstance(part, exp.Identifier)]
            if names and len(names) == len(parts) and names[-1:] != [""]:
                named.add(".".join(names))
        named -= within
    return tuple(sorted(named))
