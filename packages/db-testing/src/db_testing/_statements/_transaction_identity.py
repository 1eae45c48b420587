"""Transaction identity, the one thing that savepoints cannot give (invariant 0).

Under rollback isolation a row's `xmin` is the number of the savepoint that wrote it, and
`pg_current_xact_id()` is the outer transaction's, in all transactions of a test. What compares them
works in production and misfires here, without an error. So a failure of a test that may owe to it
says so.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._sandbox._runtime import Wire

_FUNCTIONS: Final = (
    *("txid_%", "pg_current_xact_id%", "pg_current_snapshot", "pg_snapshot_%"),
    *("pg_visible_in_snapshot", "pg_xact_status", "pg_xact_commit_timestamp%"),
    "pg_last_committed_xact",
)
_NAMES: Final = "|".join(_FUNCTIONS).replace("%", r"\w*")
# `xmax = 0` tells an inserted row from an updated one, which is the same in a savepoint.
_WORDS: Final = rf"\m(?:xmin|xmax(?!\)*\s*=\s*'?0\M)|{_NAMES})\M"
_MENTION: Final = re.compile(_WORDS.replace(r"\m", r"\b").replace(r"\M", r"\b"), re.IGNORECASE)

_PARTS: Final = ("xmin", "xmax", "txid_", "xact", "snapshot")
"""One of which is in each of these words."""

# Expressions are searched as the server stores them, for the numbers of functions and of the
# columns xmin (-2) and xmax (-4): putting them into words takes locks, and three times as long.
# Objects numbered below 16384 are the server's own; to match all its functions with one regular
# expression takes 20 ms.
_NAMED: Final = " OR ".join(f"proname LIKE '{name}'" for name in _FUNCTIONS).replace("_", r"\_")
_DEPENDENT: Final = f"""
    WITH stored(pattern) AS (
        SELECT ':varattno -[24]\\M|:funcid (?:' || string_agg(oid::text, '|') || ')\\M'
        FROM pg_proc WHERE oid < 16384 AND ({_NAMED})
    ),
    object(class, oid, name) AS (
        SELECT 'pg_proc'::regclass, p.oid, 'function ' || p.oid::regprocedure
        FROM stored, pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE l.lanname NOT IN ('c', 'internal')
          AND p.pronamespace::regnamespace::text !~ '^pg_temp'
          AND (p.prosrc ~* $1 OR p.prosqlbody::text ~ pattern)
      UNION ALL
        SELECT 'pg_class'::regclass, r.ev_class,
               CASE r.rulename WHEN '_RETURN' THEN 'view ' ELSE format('rule %I on ', r.rulename)
               END || r.ev_class::regclass
        FROM stored, pg_rewrite r WHERE r.ev_action::text || r.ev_qual::text ~ pattern
      UNION ALL
        SELECT 'pg_class'::regclass, t.tgrelid,
               format('trigger %I on %s', t.tgname, t.tgrelid::regclass)
        FROM stored, pg_trigger t WHERE t.tgqual::text ~ pattern
      UNION ALL
        SELECT 'pg_class'::regclass, p.polrelid,
               format('policy %I on %s', p.polname, p.polrelid::regclass)
        FROM stored, pg_policy p WHERE concat(p.polqual, p.polwithcheck) ~ pattern
      UNION ALL
        SELECT 'pg_class'::regclass, d.adrelid,
               format('default of %s.%I', d.adrelid::regclass, a.attname)
        FROM stored, pg_attrdef d
        JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE d.adbin::text ~ pattern
      UNION ALL
        SELECT 'pg_constraint'::regclass, c.oid, format('constraint %I', c.conname)
        FROM stored, pg_constraint c WHERE c.conbin::text ~ pattern
      UNION ALL
        SELECT 'pg_class'::regclass, i.indexrelid, 'index ' || i.indexrelid::regclass
        FROM stored, pg_index i WHERE concat(i.indexprs, i.indpred) ~ pattern
    )
    SELECT DISTINCT name FROM object
    WHERE oid >= 16384
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = class AND d.objid = object.oid AND d.deptype = 'e')
    ORDER BY name
"""  # noqa: S608  # all ours
QUESTION: Final = (_DEPENDENT, _WORDS)
"""With its argument."""


async def read(wire: Wire) -> tuple[str, ...]:
    """Name the objects of a schema whose definitions mention transaction identity.

    What belongs to an extension is left out: its authors know what they do.
    """
    return tuple(row["name"] for row in await wire.fetch(*QUESTION))


@functools.lru_cache(maxsize=2048)
def mentioned(sql: str) -> bool:
    """Tell whether a statement mentions transaction identity."""
    folded = sql.lower()  # a pattern costs ten times as much, and nearly no statement needs it
    return any(part in folded for part in _PARTS) and _MENTION.search(sql) is not None


def remark(objects: Sequence[str], statements: Sequence[str], marker: str) -> str | None:
    """Say what a failed test may owe to transaction identity; None if that is nothing."""
    found = [*objects, *dict.fromkeys(statements)]
    if not found:
        return None
    lines = "".join(f"\n  {name}" for name in found)
    return (
        "Under rollback isolation the transactions of a test are savepoints of one. So a row's "
        "xmin is never pg_current_xact_id(), and that does not change from one transaction to the "
        f"next. These mention transaction identity, and may do otherwise than in production:{lines}"
        f"\nIf this test depends on it, add {marker}, under which transactions are real."
    )
