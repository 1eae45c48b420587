"""What the sandbox must know of a statement before it runs: pure functions over its text.

Two questions are asked, and both are answered on the safe side. Is it transaction control, which
must never reach the server as it is? And can it be shown to change nothing? A statement about
which there is doubt counts as a write: at worst two transactions take turns that need not have.
"""

import functools
import re
from dataclasses import dataclass
from typing import Literal

_LEADING = re.compile(r"(?:\s|;|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_IDENTIFIER = r'("(?:[^"]|"")+"|[^\s;"]+)'
_CONTROL = re.compile(
    rf"""(?:
        (?P<savepoint>savepoint\s+{_IDENTIFIER})
      | (?P<release>release\s+(?:savepoint\s+)?{_IDENTIFIER})
      | (?P<rollback_to>rollback\s+(?:work\s+|transaction\s+)?to\s+(?:savepoint\s+)?{_IDENTIFIER})
      | (?P<boundary>
          (?:begin|start\s+transaction|commit|end|rollback|abort|prepare\s+transaction)\b.*
        )
    )\s*;?\s*$""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_READS = re.compile(r"(?:select|with|show|values|table|explain|fetch)\b", re.IGNORECASE)
# Each of these inside a query can change rows, take row locks, or set something for the session.
# A column of such a name is taken for a write too, which costs a turn and nothing else.
_WRITES = re.compile(
    r"\b(?:insert|update|delete|merge|into|call|share|lock|notify|copy"
    r"|set_config|pg_notify|pg_(?:try_)?advisory\w*|lo_\w+|dblink\w*|query_to_xml\w*)\b",
    re.IGNORECASE,
)
_DEFINES_ROUTINE = re.compile(
    r"\bcreate\s+(?:or\s+replace\s+)?(?:function|procedure)\b", re.IGNORECASE
)

_LISTEN = re.compile(r"listen\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Control:
    """A statement that steers a transaction."""

    kind: Literal["savepoint", "release", "rollback_to", "boundary"]
    name: str
    """The savepoint as PostgreSQL folds it, or the first words of a boundary."""


def _body(sql: str) -> str:
    return sql[_LEADING.match(sql).end() :]  # type: ignore[union-attr]  # matches the empty string


def _fold(identifier: str) -> str:
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return identifier.lower()


@functools.lru_cache(maxsize=2048)
def control(sql: str) -> Control | None:
    """Read a statement that steers a transaction; None for any other."""
    match = _CONTROL.match(_body(sql))
    if match is None:
        return None
    kind = match.lastgroup
    if kind == "savepoint":
        return Control("savepoint", _fold(match[2]))
    if kind == "release":
        return Control("release", _fold(match[4]))
    if kind == "rollback_to":
        return Control("rollback_to", _fold(match[6]))
    return Control("boundary", " ".join(match["boundary"].split()[:2]).rstrip(";").upper())


def listens(sql: str) -> bool:
    """Tell whether a statement is LISTEN, which takes effect at a commit that never comes."""
    return _LISTEN.match(_body(sql)) is not None


@functools.lru_cache(maxsize=2048)
def reads_only(sql: str, routines: re.Pattern[str] | None) -> bool:
    """Tell whether a statement can be shown to change nothing.

    `routines` matches the calls of functions defined by the database's owner that may write.
    """
    return (
        _READS.match(_body(sql)) is not None
        and _WRITES.search(sql) is None
        and (routines is None or routines.search(sql) is None)
    )


def defines_routine(sql: str) -> bool:
    """Tell whether a statement brings a function whose calls nobody has classified."""
    return _DEFINES_ROUTINE.search(sql) is not None


def routine_calls(names: list[str]) -> re.Pattern[str] | None:
    """Match a call of any of the named functions; None when there are none."""
    if not names:
        return None
    return re.compile(
        r"\b(?:" + "|".join(map(re.escape, sorted(names))) + r')"?\s*\(', re.IGNORECASE
    )


ANY_CALL = re.compile(r"\w\"?\s*\(")
"""Matches a call of any function, for when it is not known which may write."""
