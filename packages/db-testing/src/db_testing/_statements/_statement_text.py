"""How a statement's text is read, its comments, strings and names apart, and how it is shown."""

from __future__ import annotations

import functools
import re
import textwrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

OPAQUE: Final = re.compile(
    r"""
        --[^\n]*
      | /\*
      | (?<!\w)e'(?:[^'\\]|\\.|'')*'
      | '(?:[^']|'')*'
      | (?<!\w)\$(?P<tag>(?:[a-z_]\w*)?)\$.*?\$(?P=tag)\$
      | "(?:[^"]|"")*"
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")
_ESCAPE: Final = re.compile(r"\\(.)|''", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", None: "'"}
_BODY: Final = re.compile(r"do\b", re.IGNORECASE)


@functools.lru_cache(maxsize=2048)
def skeleton_of(sql: str) -> str:
    """Return a statement without its comments and the contents of its string literals."""
    parts: list[str] = []
    for plain, opaque in _pieces(sql):
        parts.append(plain)
        if opaque.startswith('"'):
            # A name keeps its text, but for what would look like the end of a statement.
            parts.append(opaque.replace(";", "_"))
        elif opaque:
            parts.append(" " if opaque.startswith(("--", "/*")) else "''")
    return "".join(parts).strip().lstrip("(;\t\n\r\f ")


def strings_in(sql: str) -> Iterator[str]:
    """Return what the string literals of a text say."""
    return (text for _, opaque in _pieces(sql) if (text := string_in(opaque)) is not None)


def bodies_in(sql: str) -> Iterator[str]:
    """Return what the DO statements among others run."""
    begun = ""
    for plain, opaque in _pieces(sql):
        # No more of it is looked at, and there may be thousands of strings.
        begun = f"{begun} {plain}".rpartition(";")[2].lstrip()[:3]
        body = string_in(opaque) if _BODY.match(begun) else None
        if body is not None:
            yield body


def _pieces(sql: str) -> Iterator[tuple[str, str]]:
    """Return plain text and what is opaque after it, again and again; at the end that is ""."""
    position = 0
    while (opaque := OPAQUE.search(sql, position)) is not None:
        yield sql[position : opaque.start()], opaque[0]
        position = end_of(opaque)
    yield sql[position:], ""


def end_of(opaque: re.Match[str]) -> int:
    """Return where a string, a name or a comment ends: in PostgreSQL comments nest."""
    sql, position = opaque.string, opaque.end()
    depth = int(opaque[0] == "/*")
    while depth and (edge := _COMMENT_EDGE.search(sql, position)) is not None:
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return len(sql) if depth else position


def string_in(opaque: str) -> str | None:
    """Return what a string literal says; None if it is a comment or a name.

    Of a character given by its number, this is the number.
    """
    match opaque[:1]:
        case "'":
            return opaque[1:-1].replace("''", "'")
        case "$":
            tag = opaque[: opaque.index("$", 1) + 1]
            return opaque[len(tag) : -len(tag)]
        case "e" | "E":
            return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), opaque[2:-1])
        case _:
            return None


def shorten(sql: str) -> str:
    """Return as much of a statement as an error has room for."""
    return textwrap.shorten(sql, 80, placeholder=" ...")


def mentions(sql: str, *words: str) -> bool:
    """Tell at a tenth of a pattern's cost that nearly every statement needs no closer look."""
    folded = sql.lower()
    return any(word in folded for word in words)
