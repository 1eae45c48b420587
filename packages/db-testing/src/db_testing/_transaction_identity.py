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

    from ._wire import Wire

_PATTERN: Final = (
    # `xmax = 0` tells an inserted row from an updated one, which is the same in a savepoint.
    r"\y(?:xmin|xmax(?!\)*\s*=\s*'?0\y)|txid_\w+|pg_current_xact_id\w*|pg_current_snapshot"
    r"|pg_snapshot_\w+|pg_visible_in_snapshot|pg_xact_status|pg_xact_commit_timestamp\w*"
    r"|pg_last_committed_xact)\y"
)
_MENTION: Final = re.compile(_PATTERN.replace(r"\y", r"\b"), re.IGNORECASE)

# Object numbers below 16384 are the server's own.
_DEPENDENT: Final = """
    WITH object(class, oid, name, definition) AS (
        SELECT 'pg_proc'::regclass, p.oid, 'function ' || p.oid::regprocedure,
               coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
        FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE l.lanname NOT IN ('c', 'internal')
      UNION ALL
        SELECT 'pg_class'::regclass, c.oid,
               CASE r.rulename WHEN '_RETURN' THEN 'view ' ELSE format('rule %I on ', r.rulename)
               END || c.oid::regclass,
               pg_get_ruledef(r.oid)
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
        WHERE r.oid >= 16384
      UNION ALL
        SELECT 'pg_class'::regclass, t.tgrelid,
               format('trigger %I on %s', t.tgname, t.tgrelid::regclass), pg_get_triggerdef(t.oid)
        FROM pg_trigger t WHERE t.tgqual IS NOT NULL
      UNION ALL
        SELECT 'pg_class'::regclass, p.polrelid,
               format('policy %I on %s', p.polname, p.polrelid::regclass),
               concat_ws(' ', pg_get_expr(p.polqual, p.polrelid),
                         pg_get_expr(p.polwithcheck, p.polrelid))
        FROM pg_policy p
      UNION ALL
        SELECT 'pg_class'::regclass, d.adrelid,
               format('default of %s.%I', d.adrelid::regclass, a.attname),
               pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attrdef d
        JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
      UNION ALL
        SELECT 'pg_constraint'::regclass, c.oid, format('constraint %I', c.conname),
               pg_get_constraintdef(c.oid)
        FROM pg_constraint c WHERE c.contype = 'c' AND c.oid >= 16384
      UNION ALL
        SELECT 'pg_class'::regclass, i.indexrelid, 'index ' || i.indexrelid::regclass,
               pg_get_indexdef(i.indexrelid)
        FROM pg_index i
        WHERE i.indexrelid >= 16384 AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
    )
    SELECT DISTINCT name FROM object
    WHERE oid >= 16384 AND definition ~* $1
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = class AND d.objid = object.oid AND d.deptype = 'e')
    ORDER BY name
"""


async def read(wire: Wire) -> tuple[str, ...]:
    """Name the objects of a schema whose definitions mention transaction identity.

    What belongs to an extension is left out: its authors know what they do.
    """
    return tuple(row["name"] for row in await wire.fetch(_DEPENDENT, _PATTERN))


@functools.lru_cache(maxsize=2048)
def mentioned(sql: str) -> bool:
    """Tell whether a statement mentions transaction identity."""
    return _MENTION.search(sql) is not None


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
