"""Counting the statements that the program sends: what the fixture `db_queries` hands out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from .report import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._listening import Sent

SHOWN: Final = 30
"""Lines of a failure that name a surplus statement each."""


class Queries:
    """The statements that a test has sent so far."""

    def __init__(self, root: str) -> None:
        """Know of none yet. Files are named from `root`, which ends in a separator."""
        self.sent: list[Sent] = []
        """Each with its SQL, the program's line and its seconds, in the order of their ends."""
        self._root = root

    @property
    def count(self) -> int:
        """How many there are. What steers a transaction, such as COMMIT, does not count."""
        return len(self.sent)

    def note(self, sent: Sent) -> None:
        """Count a statement."""
        self.sent.append(sent._replace(line=sent.line.removeprefix(self._root)))

    def __call__(self, *, at_most: int) -> AtMost:
        """Fail the test if more statements than so many are sent in a `with` block."""
        return AtMost(self, at_most)


class AtMost:
    """A block that may send so many statements."""

    def __init__(self, queries: Queries, at_most: int) -> None:
        """Send nothing yet."""
        self._queries = queries
        self._at_most = at_most
        self._before = 0

    def __enter__(self) -> Queries:
        """Begin to count."""
        self._before = self._queries.count
        return self._queries

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Fail, unless the block has failed by itself."""
        __tracebackhide__ = True
        sent = self._queries.sent[self._before :]
        if kind is None and len(sent) > self._at_most:
            pytest.fail("\n".join(_too_many(sent, self._at_most)))


def _too_many(sent: Sequence[Sent], at_most: int) -> list[str]:
    lines = [f"db_queries: {len(sent)} statements were sent, where at most {at_most} were to be:"]
    for number, each in enumerate(sent[: at_most + SHOWN], start=1):
        surplus = "surplus: " if number > at_most else ""
        lines.append(f"  {number}. {surplus}{each.line}: {one_line(each.sql)}")
    if sent[at_most + SHOWN :]:
        lines.append(f"  ... and {len(sent) - at_most - SHOWN} more")
    return lines
