"""What a worker's database holds when a test begins: the template's rows, and those of data layers.

A data layer is what a fixture of class, module or session scope has committed for the tests of that
scope. It is there for real, so tests of every isolation and on every event loop see it. What a test
really commits is undone by a copy of the state that it began with: the template, or a copy made
before the test began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._template._kept import Keepsake


class Database(Protocol):
    """A worker's database, to be replaced as a whole."""

    def renew(self, source: str | None) -> None:
        """Replace it by a copy of another database, or of the template."""

    def save(self, depth: int) -> str:
        """Copy it, and return the copy's name."""

    def drop(self, saved: str) -> None:
        """Drop a copy."""

    def part(self, source: str | None) -> None:
        """Make place for a database that nobody has touched: a copy of another, or of the template.

        What is renewed, saved or kept then is that one.
        """

    def rejoin(self, source: str | None) -> bool:
        """Come back, and throw that one away.

        Return false if there was nothing to come back to, so that it is a copy of `source`.
        """

    def prepare(self, source: str | None) -> None:
        """Make such a copy in the background, so that it is there when it is needed."""

    def keep(self, keepsake: Keepsake) -> str | None:
        """Give it away for ever, to be replaced next; return why that cannot be, if so."""


class States:
    """The states of a worker's database beneath the running test."""

    def __init__(self, database: Database, *, cut_off: Callable[[], None]) -> None:
        """Begin with the template's state. `cut_off` ends every connection to the database."""
        self._database = database
        self._cut_off = cut_off
        self._sources: list[str | None] = [None]
        """Of each layer, from the template up, what the database can be renewed from."""
        self._dirty = False
        """Whether the highest layer has rows of which there is no copy."""
        self._stale = False
        """Whether the database has rows of a layer that is gone."""
        self._lost: tuple[int, str] | None = None
        """The lowest layer, by depth, whose rows are gone, and the test that is to blame."""

        self.parted = False
        """Whether the running test has a database of its own."""

    @property
    def lost(self) -> str | None:
        """The test because of which rows are missing that a fixture has written."""
        return self._lost[1] if self._lost else None

    def push(self) -> None:
        """Let what is committed next be a layer."""
        self.settle()
        self.save()
        self._sources.append(self._sources[-1])
        self._dirty = True

    def pop(self) -> None:
        """Give the highest layer up. What it wrote is undone when the database is needed next."""
        source = self._sources.pop()
        if source is not None and source != self._sources[-1]:
            self._database.drop(source)
        if self._lost and self._lost[0] == len(self._sources):
            self._lost = None
        self._dirty = False
        self._stale = True

    def remember(self) -> None:
        """Copy the state that a test has reached."""
        self._cut_off()
        self._sources.append(self._database.save(len(self._sources)))

    def recall(self) -> None:
        """Return to the state remembered last, and forget it."""
        self._cut_off()
        source = self._sources.pop()
        self._database.renew(source)
        if source is not None:
            self._database.drop(source)

    def settle(self) -> bool:
        """Undo the layers that are gone; tell whether anything had to be done."""
        stale, self._stale = self._stale, False
        if stale:
            self._cut_off()
            self._database.renew(self._sources[-1])
        return stale

    def save(self) -> None:
        """Copy the state that a test begins with, unless there is a copy."""
        if self._dirty:
            self._cut_off()
            self._sources[-1] = self._database.save(len(self._sources) - 1)
            self._dirty = False

    def part(self) -> None:
        """Give the running test a database of its own, in which nobody is connected yet."""
        self._database.part(self._sources[-1])
        self.parted = True

    def prepare(self) -> None:
        """Have a database made for a test that is to have one of its own, while others run."""
        if not (self._dirty or self._stale):
            self._database.prepare(self._sources[-1])

    def keep(self, keepsake: Keepsake) -> str | None:
        """Keep what a test has really committed; return why that cannot be, if so."""
        self._cut_off()
        return self._database.keep(keepsake)

    def renew(self, test: str) -> bool:
        """Undo what a test has really committed; tell whether that takes a new database."""
        self._cut_off()
        if self.parted:
            self.parted = False
            return not self._database.rejoin(self._sources[-1])
        if self._dirty and self._lost is None:
            self._lost = len(self._sources) - 1, test
        self._stale = False
        self._database.renew(self._sources[-1])
        return True
