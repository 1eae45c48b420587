"""Virtual transactions: what one virtual connection believes to be its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import SandboxClosedError
from ._runtime import ASYNCIO, BROKEN_BLOCK, NO_SAVEPOINT

if TYPE_CHECKING:
    from ._codecs import Codecs
    from ._runtime import Event, Runtime, Worker

NO_TEST: Final = "no test"
"""The test of transactions that begin outside of any."""


class Noted(NamedTuple):
    """A setting before a transaction made it for itself."""

    value: str | None
    moment: int
    """Grows: whoever has the higher one has set it later."""


@dataclass(eq=False, slots=True)
class Frame:
    """A transaction or one of its savepoints: what a rollback returns to."""

    savepoint: str | None = None
    constraint_modes: list[str] = field(default_factory=list)
    """The statements that have put constraints off, or not any more."""
    settings: dict[str, Noted] = field(default_factory=dict)
    """What its transaction had noted of settings when the savepoint was taken."""


@dataclass(eq=False, slots=True)
class Transaction:
    """A virtual transaction, from its beginning to its end; nothing here speaks to the server."""

    test: str
    origin: str
    runtime: Runtime = ASYNCIO
    implicit: bool = False
    readonly: bool = False
    codecs: Codecs = field(default_factory=dict)
    """Those of its connection."""
    frames: list[Frame] = field(default_factory=lambda: [Frame()], init=False)
    task: Worker | None = field(default=None, init=False)
    """The task or thread that used it last, until it ends."""
    _ran_in: str = field(default="", init=False)
    """Its name, from then on."""
    wrote: bool = field(default=False, init=False)
    beneath: frozenset[Transaction] = field(default=frozenset(), init=False)
    """The transactions that were open and had written when it first wrote."""
    local_settings: dict[str, Noted] = field(default_factory=dict, init=False)
    """What a commit puts back: settings made by SET LOCAL, and their values before."""
    endings: frozenset[tuple[str, str]] = field(default=frozenset(), init=False)
    """What a commit drops or closes: temporary tables ON COMMIT DROP, and cursors without hold."""
    outlasting: bool = field(default=False, init=False)
    """Whether, though read-only, it has made what outlasts it, such as settings."""
    open: bool = field(default=True, init=False)
    failed: bool = field(default=False, init=False)
    """The innermost frame is aborted; only a rollback helps."""
    _ended: Event | None = field(default=None, init=False)

    @property
    def ended(self) -> Event:
        """What happens when it ends: most end before anybody waits for that."""
        if self._ended is None:
            self._ended = self.runtime.event()
            if not self.open:
                self._ended.set()
        return self._ended

    def __str__(self) -> str:
        kind = "statement" if self.implicit else "transaction"
        name = self.task.get_name() if self.task is not None else self._ran_in
        task = f" in {self.runtime.worker} {name!r}" if name else ""
        return f"the {kind} begun at {self.origin}{task}"

    @property
    def constraint_modes(self) -> list[str]:
        """What it has set constraints to, which a failed frame has lost."""
        frames = self.frames[:-1] if self.failed else self.frames
        return [mode for frame in frames for mode in frame.constraint_modes]

    def check_open(self) -> None:
        """Raise an error if somebody else has ended it."""
        if not self.open:
            if self.test is NO_TEST:
                raise SandboxClosedError(
                    f"{self} began while no test was running, probably in a fixture of class, "
                    f"module, package or session scope, and was rolled back with the first test "
                    f"that ended since. Begin it in a function-scoped fixture."
                )
            raise SandboxClosedError(
                f"{self} was still open when its test {self.test} ended, or a data layer "
                f"in it, and was rolled back with it. Await or cancel what outlives the test, "
                f"and let a function-scoped fixture make a session for each of several tests."
            )

    def check_usable(self) -> None:
        """Raise what the server would raise to anything but a rollback in a failed block."""
        if not self.open:
            self.check_open()
        if self.failed:
            raise self.runtime.error(
                BROKEN_BLOCK,
                "current transaction is aborted, commands ignored until end of transaction block",
            )

    def end(self) -> None:
        """Let it do no more, and wake who waits for it."""
        self.open = False
        if self.task is not None:
            # Its context leads back here: only the garbage collector would end that.
            self._ran_in, self.task = self.task.get_name(), None
        if self._ended is not None:
            self._ended.set()

    def savepoint(self, name: str) -> None:
        """Open a savepoint. Nothing is sent until its first statement."""
        self.check_usable()
        self.frames.append(Frame(name, settings=dict(self.local_settings)))

    def release(self, savepoint: str) -> tuple[list[Frame], Frame]:
        """Merge a savepoint, and those inside it, into the frame around it; return both."""
        self.check_usable()
        index = self.find(savepoint)
        inner, outer = self.frames[index:], self.frames[index - 1]
        del self.frames[index:]
        outer.constraint_modes += [mode for frame in inner for mode in frame.constraint_modes]
        return inner, outer

    def return_to(self, index: int) -> None:
        """Be again as one of the frames was when it began."""
        del self.frames[index + 1 :]
        self.frames[index].constraint_modes.clear()
        self.local_settings = dict(self.frames[index].settings)
        self.failed = False

    def find(self, savepoint: str) -> int:
        """Return which of the frames is the innermost savepoint of a name.

        Raises:
            the driver's error: there is none, and the transaction has failed.
        """
        for index in range(len(self.frames) - 1, 0, -1):
            if self.frames[index].savepoint == savepoint:
                return index
        self.failed = True
        message = f'savepoint "{savepoint}" does not exist'
        raise self.runtime.error(NO_SAVEPOINT, message)
