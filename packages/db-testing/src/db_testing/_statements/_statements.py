"""What the sandbox must know of a statement before it runs: pure functions over its text.

Is it transaction control, which must never reach the server as it is? Can it be shown to change
nothing? Does it set something until its transaction ends? Where the text leaves a doubt, a
statement counts as a write: at worst two transactions take turns that need not have.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ._statement_text import bodies_in, mentions, skeleton_of

if TYPE_CHECKING:
    from collections.abc import Collection

_IDENTIFIER: Final = r'("(?:[^"]|"")+"|[^\s;"]+)'
_CONTROL: Final = re.compile(
    rf"""(?:
        (?P<savepoint>savepoint\s+{_IDENTIFIER})
      | (?P<release>release\s+(?:savepoint\s+)?{_IDENTIFIER})
      | (?P<rollback_to>rollback\s+(?:work\s+|transaction\s+)?to\s+(?:savepoint\s+)?{_IDENTIFIER})
      | (?P<read_only>set\s+(?:local\s+)?transaction
          (?:\s+read\s+only|_read_only\s*(?:=|\bto\b)\s*(?:on|true)))
      | (?P<boundary>
          (?:begin|start\s+transaction|commit|end|rollback|abort|prepare\s+transaction)\b.*
        )
    )\s*$""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_ATOMIC_BODY: Final = re.compile(r"\bbegin\s+atomic\b", re.IGNORECASE)
_READS: Final = re.compile(r"(?:select|with|show|values|table|explain|fetch)\b|$", re.IGNORECASE)
# Each of these inside a query can change rows, take row locks, or set something for the session.
# A column of such a name is taken for a write too, which costs a turn and nothing else.
_WRITES: Final = re.compile(
    r"\b(?:insert|update|delete|merge|into|call|share|lock|notify|copy|execute|create|refresh"
    r"|set_config|pg_notify|pg_(?:try_)?advisory\w*|lo_\w+|lowrite|dblink\w*|query_to_xml\w*)\b",
    re.IGNORECASE,
)
_ASKS_FOR_LOCKS: Final = re.compile(
    r"\bskip\s+locked\b|\bnowait\b|\bpg_try_advisory_xact_lock\w*\s*\(", re.IGNORECASE
)
_DEFINES_ROUTINE: Final = re.compile(
    r"""\bcreate\s+(?:or\s+replace\s+)?(?:function|procedure)\s+
        (?:(?:"[^"]+"|[\w$]+)\s*\.\s*)?"?(?P<name>[\w$]+)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NAMES_ROUTINE: Final = re.compile(
    r"""\b(?:function|procedure|routine)\s+(?:if\s+exists\s+)?
        (?:(?:"[^"]+"|[\w$]+)\s*\.\s*)?"?[\w$]+
    """,
    re.IGNORECASE | re.VERBOSE,
)
_DEFINES_VIEW: Final = re.compile(
    r"""\bcreate\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+)?(?:recursive\s+)?(?:view|policy)\b
        .*\w"?\s*\(
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_DEFINES_SOMETHING: Final = re.compile(
    r"\b(?:create|alter|drop|prepare|search_path)\b", re.IGNORECASE
)
_CHANGES_SCHEMA: Final = re.compile(
    r"\b(?:create|alter|drop|do(?!\s+(?:nothing|update)\b)|call|prepare|execute|search_path)\b",
    re.IGNORECASE,
)
_LISTEN: Final = re.compile(r"listen\b", re.IGNORECASE)
_DEALLOCATES_ALL: Final = re.compile(r"deallocate\s+(?:prepare\s+)?all\b", re.IGNORECASE)
_EXPORTS: Final = re.compile(r"\bpg_export_snapshot\s*\(", re.IGNORECASE)
_ENDS_WITH_TRANSACTION: Final = re.compile(
    r"""\bcreate\s+(?:(?:global|local)\s+)?temp(?:orary)?\s+table\s+(?P<unless>if\s+not\s+exists\s+)?
        (?:pg_temp\s*\.\s*)?(?P<table>"(?:[^"]|"")+"|[\w$]+)[^;]*?\bon\s+commit\s+drop\b
      | \bdeclare\s+(?P<cursor>"(?:[^"]|"")+"|[\w$]+)\s+(?:(?!cursor\b)\w+\s+)*cursor\s+
        (?!with\s+hold\b)(?:without\s+hold\s+)?for\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_OUTLASTS: Final = re.compile(
    r"\b(?:insert|update|delete|merge|copy(?!.*\bto\s+stdout)|truncate|hold|do|call|execute)\b",
    re.IGNORECASE | re.DOTALL,
)
_EMPTIED_AT_COMMIT: Final = re.compile(r"\bon\s+commit\s+delete\s+rows\b", re.IGNORECASE)
_SETS_DEFAULT: Final = re.compile(
    r"set\s+(?:(?:session|local)\s+)?(?:characteristics\b|default_transaction_\w+)(?P<to>.*)",
    re.IGNORECASE | re.DOTALL,
)
_USUAL: Final = re.compile(
    r"(?:read\s+committed|read\s+write|off|false|default)\W*$", re.IGNORECASE
)
_SETS_ISOLATION: Final = re.compile(r"set\s+(?:local\s+)?transaction\b", re.IGNORECASE)
_SETS_CONSTRAINTS: Final = re.compile(r"set\s+constraints\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Control:
    """A statement that steers a transaction."""

    kind: Literal["savepoint", "release", "rollback_to", "read_only", "boundary", "script"]
    name: str = ""
    """The savepoint as PostgreSQL folds it, or the first words of what is refused."""


def _fold(identifier: str) -> str:
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return identifier.lower()


@functools.lru_cache(maxsize=2048)
def control(sql: str) -> Control | None:
    """Read a statement that steers a transaction, also among others; None for any other."""
    skeleton = skeleton_of(sql)
    parts = [part.strip() for part in skeleton.split(";") if part.strip()]
    if len(parts) > 1 and _ATOMIC_BODY.search(skeleton):
        return None  # the body of a routine has semicolons of its own, and an END
    controls = [found for part in parts if (found := _control(part)) is not None]
    if len(parts) > 1:  # among others it means to the server what it says
        controls = [found for found in controls if found.kind != "read_only"]
    boundary = next((found for found in controls if found.kind == "boundary"), None)
    if boundary is not None or not controls:
        return boundary
    if len(parts) > 1:
        return Control("script", controls[0].name)
    return controls[0]


def _control(statement: str) -> Control | None:
    match = _CONTROL.match(statement)
    if match is None:
        return None
    kind = match.lastgroup
    if kind == "savepoint":
        return Control("savepoint", _fold(match[2]))
    if kind == "release":
        return Control("release", _fold(match[4]))
    if kind == "rollback_to":
        return Control("rollback_to", _fold(match[6]))
    if kind == "read_only":
        return Control("read_only")
    return Control("boundary", " ".join(match["boundary"].split()[:2]).upper())


@functools.lru_cache(maxsize=2048)
def refusal(sql: str) -> str | None:
    """Say why a statement would be a lie inside an outer transaction; None if it would not."""
    skeleton = skeleton_of(sql)
    parts = [part.strip() for part in skeleton.split(";") if part.strip()]
    if any(map(_LISTEN.match, parts)):
        return "is delivered at a commit, and this test's never comes"
    if any(map(_DEALLOCATES_ALL.match, parts)):
        return "would forget what all connections of the test share"
    if _EMPTIED_AT_COMMIT.search(skeleton):
        return "would empty its table at the end of the outer transaction only"
    if _EXPORTS.search(skeleton):
        return "would show others what is never committed"
    whole = sql if len(parts) == 1 else None  # in which a value in quotes can be read
    if any(_SETS_DEFAULT.match(part) and not _USUAL.search(whole or part) for part in parts):
        return "is about the transactions that follow, and here they are parts of one"
    return None


@functools.lru_cache(maxsize=2048)
def reads_only(sql: str, routines: re.Pattern[str] | None) -> bool:
    """Tell whether a statement can be shown to change nothing.

    `routines` matches the calls of functions defined by the database's owner that may write, and
    the views that call them.
    """
    skeleton = skeleton_of(sql)
    return (
        all(_READS.match(part.lstrip("(\t\n\r\f ")) is not None for part in skeleton.split(";"))
        and _WRITES.search(skeleton) is None
        and (routines is None or routines.search(skeleton) is None)
    )


@functools.lru_cache(maxsize=2048)
def changes_schema(sql: str) -> bool:
    """Tell whether a statement may change what names mean, in its text or in a body it runs."""
    return _CHANGES_SCHEMA.search(sql) is not None


@functools.lru_cache(maxsize=2048)
def asks_for_locks(sql: str) -> bool:
    """Tell whether the result of a statement depends on what other transactions have locked."""
    return (
        mentions(sql, "locked", "nowait", "pg_try_")
        and _ASKS_FOR_LOCKS.search(skeleton_of(sql)) is not None
    )


def outlasts(sql: str) -> bool:
    """Tell whether a read-only transaction may by a statement make what outlasts it.

    It may write to temporary tables, and leave a cursor WITH HOLD. Settings are told of elsewhere.
    """
    return _OUTLASTS.search(skeleton_of(sql)) is not None


def defines_routine(sql: str) -> bool:
    """Tell whether a statement brings a function, or a view, that nobody has classified."""
    return _DEFINES_ROUTINE.search(sql) is not None or defines_view(sql)


def routines_defined(sql: str) -> frozenset[str]:
    """Return the names, in lower case, of the functions and procedures that a statement defines."""
    return frozenset(match["name"].lower() for match in _DEFINES_ROUTINE.finditer(skeleton_of(sql)))


def defines_view(sql: str) -> bool:
    """Tell whether a statement lets the mere name of a table call a function."""
    return _DEFINES_VIEW.search(sql) is not None


def defines_something(body: str) -> bool:
    """Tell whether a body has DDL in it, also within a string that it executes."""
    return _DEFINES_SOMETHING.search(body) is not None


def constraint_modes(sql: str) -> list[str]:
    """Return what a statement sets constraints to until its transaction ends, as statements."""
    if not mentions(sql, "constraints"):
        return []
    parts = map(str.strip, skeleton_of(sql).split(";"))
    return [part for part in parts if _SETS_CONSTRAINTS.match(part)]


def checks_at_once(mode: str) -> bool:
    """Tell whether a statement that sets constraints lets nothing wait for the commit."""
    return mode.lower().endswith("immediate")


def sets_isolation(sql: str) -> bool:
    """Tell whether a statement sets the isolation level of its transaction."""
    return _SETS_ISOLATION.match(skeleton_of(sql)) is not None


def routine_calls(names: Collection[str], views: Collection[str] = ()) -> re.Pattern[str] | None:
    """Match a call of any of the named functions, or a view's name; None when there are none."""
    matched = []
    if names:
        matched.append(rf'(?P<name>{_any_of(names)})"?\s*\(')
    if views:
        matched.append(rf"(?:{_any_of(views)})(?![\w$])")
    if not matched:
        return None
    return re.compile(rf"(?<![\w$])(?:{'|'.join(matched)})", re.IGNORECASE)


def _any_of(names: Collection[str]) -> str:
    return "|".join(map(re.escape, sorted(names)))


@functools.lru_cache(maxsize=2048)
def called(sql: str, calls: re.Pattern[str]) -> frozenset[str]:
    """Return the names, in lower case, of the routines that a statement calls."""
    text = _NAMES_ROUTINE.sub(" ", skeleton_of(sql))  # to define or drop one is not to call it
    return frozenset(match["name"].lower() for match in calls.finditer(text))


ANY_CALL = re.compile(r"\w\"?\s*\(")
"""Matches a call of any function, for when it is not known which may write."""

ANYTHING = re.compile("")
"""Matches any statement, for when it is not known which names of tables may write."""


@functools.lru_cache(maxsize=2048)
def may_end_something(sql: str) -> bool:
    """Tell whether something that a statement does may end with its transaction."""
    return mentions(sql, "set") or bool(endings(sql))


@functools.lru_cache(maxsize=2048)
def endings(sql: str) -> frozenset[tuple[str, str]]:
    """Return what a statement makes that ends with its transaction: kinds and folded names.

    A "new table" it makes only if there is none of that name.
    """
    if not mentions(sql, "declare", "commit"):
        return frozenset()
    return _endings(skeleton_of(sql)).union(*map(endings_of_body, bodies_in(sql)))


def endings_of_body(body: str) -> frozenset[tuple[str, str]]:
    """Return the temporary tables that a body makes and that end with its transaction."""
    return frozenset((kind, name) for kind, name in _endings(body) if kind != "cursor")


def _endings(text: str) -> frozenset[tuple[str, str]]:
    return frozenset(
        ("new table" if match["unless"] else kind, _fold(match[kind]))
        for match in _ENDS_WITH_TRANSACTION.finditer(text)
        if (kind := match.lastgroup) is not None
    )
