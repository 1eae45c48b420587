"""Which settings a statement makes, and for how long: pure functions over its text."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ._statement_text import (
    OPAQUE,
    bodies_in,
    end_of,
    mentions,
    skeleton_of,
    string_in,
    strings_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SET_LOCAL: Final = re.compile(
    r'\bset\s+local\s+(session\s+authorization|time\s+zone|"?[\w.]+)', re.IGNORECASE
)
_SET_LASTING: Final = re.compile(
    r"""(?:^|;)\s*(?:set\s+(?:session\s+(?!authorization\b))?|reset\s+)
        (?!(?:local|transaction|constraints)\b)
        (session\s+authorization|time\s+zone|"?[\w.]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_CALL_OR_OPAQUE: Final = re.compile(
    rf"""(?P<call>
            (?<![\w.$"])(?<!\bfunction\s)(?<!\binto\s)(?<!\btable\s)
            (?:(?:pg_catalog|(?-i:"pg_catalog"))\s*\.\s*)?
            (?:set_config|(?-i:"set_config"))\s*(?=\()
        )
      | {OPAQUE.pattern}
    """,
    OPAQUE.flags,
)
_ARGUMENTS: Final = ("setting_name", "new_value", "is_local")
_NAMED: Final = re.compile(r"\s*(\w+)\s*=>")
_LOCAL: Final = ("true", "t", "on", "yes", "1")
"""How set_config() is told that a setting is for its transaction only."""
_LASTING: Final = ("false", "f", "off", "no", "0")
_CAST: Final = re.compile(r'\s*::\s*"?[\w. ]+"?(?:\s*\(\s*\d+\s*\))?$')
_AROUND: Final = re.compile(
    r"""cast\s*\((?P<cast>.*)\sas\s+"?[\w. ]+"?(?:\s*\(\s*\d+\s*\))?\s*\)$
      | \((?P<alone>[^()]*)\)$""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_UNTOLD: Final = object()
"""What the text of an argument does not tell: it is computed, or comes from a column."""
_ABSENT: Final = object()
"""An argument that there is not: a statement that is prepared, and not run."""


class Many(tuple[Any, ...]):
    """The arguments of a statement that is run once for each of them."""

    __slots__ = ()


def args_of_many(sql: str, rows: Iterable[Any]) -> Any:
    """Return the rows of arguments of a statement, to be looked at where they may name settings.

    Others are left as they are: there may be no end of them.
    """
    return Many(rows) if mentions(sql, "set_config") else rows


@dataclass(frozen=True, slots=True)
class Made:
    """The settings that a statement makes, by their names in lower case."""

    local: frozenset[str] = frozenset()
    """Until its transaction ends."""
    lasting: frozenset[str] = frozenset()
    """For longer, or which it gives back their defaults."""
    untold: bool = False
    """Whether it makes others, perhaps for its transaction only, and does not say which."""

    def __or__(self, other: Made) -> Made:
        return Made(
            self.local | other.local, self.lasting | other.lasting, self.untold or other.untold
        )


_NONE: Final = Made()


def made_by(sql: str, args: Sequence[Any] = ()) -> Made:
    """Return what a statement sets. It may be run with many arguments, as :class:`Many`."""
    made = _made_by_text(sql)
    if _calls(sql):
        for each in args if isinstance(args, Many) else (args,):
            made |= _called(sql, each)
    return made


@functools.lru_cache(maxsize=2048)
def _made_by_text(sql: str) -> Made:
    """Return what a statement sets whatever its arguments are, but for calls of its own."""
    if not mentions(sql, "set"):
        return _NONE
    skeleton = skeleton_of(sql)
    made = Made(
        _own_settings({_setting(match[1]) for match in _SET_LOCAL.finditer(skeleton)}),
        frozenset(_setting(match[1]) for match in _SET_LASTING.finditer(skeleton)),
    )
    for body in bodies_in(sql):
        made |= made_by_body(body)
    return made


def made_by_body(body: str) -> Made:
    """Return what a body sets, also by statements in strings that it executes.

    What it only speaks of is no setting, or none that changes.
    """
    if not mentions(body, "set"):
        return _NONE
    local = {_setting(match[1]) for match in _SET_LOCAL.finditer(body)}
    made = Made(_own_settings(local)) | _called(body, ())
    for executed in strings_in(body):
        made |= Made(_called(executed, ()).local)
    return made


def _own_settings(names: set[str]) -> frozenset[str]:
    """Leave out those of the transaction itself, which end with it by themselves."""
    return frozenset(name for name in names if not name.startswith("transaction_"))


def _setting(name: str) -> str:
    return "_".join(name.lower().strip('"').split()).replace("time_zone", "timezone")


def _called(sql: str, args: Sequence[Any]) -> Made:
    """Return what the calls of set_config() set."""
    local, lasting, untold = set(), set(), False
    for call in _calls(sql):
        name, scope = (_value(item, args) for item in call)
        if _ABSENT in (name, scope) or name is None:
            continue
        lasts = str(scope).lower() in _LASTING
        if not isinstance(name, str):
            untold |= not lasts
        elif lasts:
            lasting.add(name.lower())
        elif str(scope).lower() in _LOCAL:
            local.add(name.lower())
        else:
            untold = True
    return Made(frozenset(local), frozenset(lasting), untold)


@functools.lru_cache(maxsize=2048)
def _calls(sql: str) -> tuple[tuple[str, str], ...]:
    """Return what each call of set_config() gives for the setting's name, and for its scope."""
    if not mentions(sql, "set_config"):
        return ()
    calls = []
    for items in _arguments_of_calls(sql):
        if len(items) == len(_ARGUMENTS):  # else it is the program's own
            given = dict(zip(_ARGUMENTS, items, strict=True))
            given |= {match[1].lower(): item for item in items if (match := _NAMED.match(item))}
            calls.append((given["setting_name"], given["is_local"]))
    return tuple(calls)


def _arguments_of_calls(sql: str) -> Iterator[list[str]]:
    position = 0
    while (found := _CALL_OR_OPAQUE.search(sql, position)) is not None:
        if found["call"] is None:
            position = end_of(found)
        else:
            items, position = _arguments(sql, found.end())
            yield items


def _arguments(sql: str, opening: int) -> tuple[list[str], int]:
    """Return the arguments of the call whose parenthesis opens at a position, and its end."""
    items = [""]
    depth = 0
    position = opening
    while position < len(sql):
        opaque = OPAQUE.match(sql, position)
        piece = opaque[0] if opaque is not None else sql[position]
        if opaque is not None and piece.startswith(("--", "/*")):
            position = end_of(opaque)
            continue
        position += len(piece)
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(piece, 0)
        if depth == 0:
            break
        if piece == "," and depth == 1:
            items.append("")
        elif position > opening + 1:
            items[-1] += piece
    return items, position


def _value(item: str, args: Sequence[Any]) -> Any:
    """Return what an argument is, where its text tells."""
    item = _NAMED.sub("", item, count=1).strip()
    while (outer := _AROUND.match(item)) is not None or _CAST.search(item) is not None:
        item = (outer[outer.lastgroup or 0] if outer is not None else _CAST.sub("", item)).strip()
    if item.startswith("$") and item[1:].isdigit():
        return args[int(item[1:]) - 1] if int(item[1:]) <= len(args) else _ABSENT
    if item.lower() in (*_LOCAL, *_LASTING):
        return item
    if OPAQUE.fullmatch(item) is None or (item[:1] in "eE" and "\\" in item):
        return _UNTOLD
    text = string_in(item)
    return _UNTOLD if text is None else text
