"""What the sandbox's coroutines wait for, and how a driver says things: what differs by family.

The model of :mod:`._sandbox` is written once, as coroutines. They await the wire, a lock, the end
of a transaction and nothing else; a :class:`Runtime` provides these, and names the errors of its
driver. In :class:`AsyncioRuntime` tasks take turns, on asyncpg; in :mod:`._threads` threads do.
"""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar

import asyncpg

from .._server._admin import WIRE_ERRORS

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from types import TracebackType

T = TypeVar("T")
Wire: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""The connection of a test: asyncpg's, or what has as much of its interface as is used."""

BROKEN_BLOCK: Final = "25P02"
NO_SAVEPOINT: Final = "3B001"
NO_TRANSACTION: Final = "25P01"
UNSAFE_NEW_ENUM_VALUE: Final = "55P04"
LOCK_NOT_AVAILABLE: Final = "55P03"
READ_ONLY: Final = "25006"
INSIDE_TRANSACTION: Final = ("25001", "2D000")
"""What the server answers to a statement that must not run inside a transaction."""
CONSTRAINT_VIOLATION: Final = "23"
"""The class of errors to which violations of constraints belong."""


def sqlstate(error: BaseException) -> str:
    """Return PostgreSQL's code of an error, which both drivers keep in one place; else nothing."""
    return getattr(error, "sqlstate", None) or ""


def constraint_of(error: BaseException) -> str | None:
    """Return the name of the constraint that was violated."""
    said = getattr(error, "diag", error)  # psycopg's
    name: str | None = getattr(said, "constraint_name", None)
    return name


class Worker(Protocol):
    """A task or a thread."""

    def done(self) -> bool:
        """Tell whether it will never run a statement again."""

    def get_name(self) -> str:
        """Return what errors call it."""


class Lock(Protocol):
    """A lock as `asyncio.Lock` is one."""

    async def acquire(self) -> Any:
        """Wait without a bound."""

    def release(self) -> None:
        """Let another have it."""

    def locked(self) -> bool:
        """Tell whether somebody has it."""

    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...


class Event(Protocol):
    """Something that happens once, for which :meth:`Runtime.ended_or_orphaned` waits."""

    def set(self) -> object:
        """Wake who waits for it."""


class Loop(Protocol):
    """Where a wire lives: an event loop, or simply the process."""

    def is_closed(self) -> bool:
        """Tell whether what lives there can no longer be reached."""


class Runtime(Protocol):
    """What tasks and threads, and asyncpg and psycopg, do not have in common."""

    worker: str
    """What takes turns: "task" or "thread"."""
    wire_errors: tuple[type[Exception], ...]
    """What talking to a server can raise, or to one that has just gone."""
    loops_end: bool
    """Whether a wire must be closed with the loop on which it was opened."""

    def opened(self, wire: Any) -> None:
        """Prepare a wire that has been opened."""

    def loop(self) -> Any:
        """Return where a wire that is opened now lives: a :class:`Loop`."""

    def current(self) -> Worker | None:
        """Return who is running."""

    def lock(self) -> Lock:
        """Return a lock."""

    def event(self) -> Event:
        """Return an event."""

    async def acquire(self, lock: Lock, seconds: float) -> None:
        """Take a lock.

        Raises:
            TimeoutError: one of those who had it meanwhile kept it for longer than the bound.
        """

    async def ended_or_orphaned(self, ended: Event, worker: Worker | None, seconds: float) -> None:
        """Wait until a transaction has ended, or who used it last is done.

        Raises:
            TimeoutError: neither was so within the bound.
        """

    def finish(
        self, step: Coroutine[Any, Any, T], *, otherwise: Callable[[], None]
    ) -> Awaitable[T]:
        """Take a step that must not stop half-way; `otherwise` is called when it did."""

    def aborted(self, wire: Any, error: BaseException) -> bool | None:
        """Tell whether the server's transaction is aborted after an error; None: ask the server."""

    def error(self, code: str, message: str) -> Exception:
        """Build the error that the driver would raise had the server answered with a code."""

    def closed(self, message: str) -> Exception:
        """Build the error that the driver raises when it is not connected."""


class Turn(asyncio.Lock):
    """A lock that knows whether somebody waits for it, for whom it may be free already."""

    waiting = 0
    taken_at = 0.0
    """When it was taken last, in the loop's time."""


@types.coroutine
def uninterrupted(
    step: Coroutine[Any, Any, T], *, otherwise: Callable[[], None]
) -> Generator[Any, Any, T]:
    """Finish a step that must not stop half-way, and only then let a cancellation through.

    It is taken within the running task, for each task costs two rounds of the event loop. So it
    must set itself no bound by which that task is cancelled, such as `asyncio.timeout()`.
    `otherwise` is called when what the step waits for was cancelled, or the task is thrown away.
    """
    cancelled: asyncio.CancelledError | None = None
    try:
        while True:
            cancelled = (yield from _until_done(step.send(None))) or cancelled
    except StopIteration as end:
        if cancelled is not None:
            raise cancelled from None
        return end.value  # type: ignore[no-any-return]  # what the step returns
    except (asyncio.CancelledError, GeneratorExit):
        otherwise()
        step.close()
        raise
    except Exception:
        if cancelled is not None:
            raise cancelled from None
        raise


def _until_done(
    pending: asyncio.Future[Any] | None,
) -> Generator[Any, Any, asyncio.CancelledError | None]:
    """Wait for a future that a cancellation must not reach; return the cancellation."""
    if pending is not None:  # else it is what sleep(0) waits for
        pending._asyncio_future_blocking = False  # noqa: SLF001  # what a task does with it
    try:
        yield None if pending is None else _Shield(pending)
    except asyncio.CancelledError as error:
        return error
    return None


class _Shield:
    """A future as a task sees it, done when another is, which cancelling the task does not cancel.

    What cannot be cancelled a task waits for; then it is cancelled.
    """

    _asyncio_future_blocking = True

    def __init__(self, pending: asyncio.Future[Any]) -> None:
        self._pending = pending

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._pending.get_loop()

    def add_done_callback(
        self, wake: Callable[[_Shield], object], *, context: contextvars.Context | None = None
    ) -> None:
        self._pending.add_done_callback(lambda _: wake(self), context=context)

    def cancel(self, msg: object = None) -> bool:
        del msg
        return False

    def result(self) -> None:
        return None


class AsyncioRuntime:
    """Tasks of an event loop, and asyncpg."""

    worker = "task"
    wire_errors: tuple[type[Exception], ...] = WIRE_ERRORS
    loops_end = True
    loop = staticmethod(asyncio.get_running_loop)
    current = staticmethod(asyncio.current_task)
    lock = Turn
    event = asyncio.Event
    finish = staticmethod(uninterrupted)

    def opened(self, wire: Any) -> None:
        # Before asyncpg 0.32 a cursor asks for a block of the driver's own, and ours is raw SQL.
        wire._top_xact = wire.transaction()  # noqa: SLF001

    async def acquire(self, lock: Lock, seconds: float) -> None:
        assert isinstance(lock, Turn)  # noqa: S101  # this runtime's own
        loop = asyncio.get_running_loop()
        if not (lock.waiting or lock.locked()):
            await lock.acquire()  # at once; a timeout would cost more than all the rest
            lock.taken_at = loop.time()
            return
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            due = lock.taken_at + seconds
            if due <= loop.time():
                bound.reschedule(0)
            else:
                timer = loop.call_at(due, look)

        lock.waiting += 1
        timer = loop.call_later(seconds, look)
        try:
            async with asyncio.timeout(None) as bound:
                await lock.acquire()
        finally:
            timer.cancel()
            lock.waiting -= 1
        lock.taken_at = loop.time()

    async def ended_or_orphaned(self, ended: Event, worker: Worker | None, seconds: float) -> None:
        assert isinstance(ended, asyncio.Event)  # noqa: S101  # this runtime's own
        ending = asyncio.ensure_future(ended.wait())
        waits: set[asyncio.Future[Any]] = {ending}
        if isinstance(worker, asyncio.Task):
            waits.add(worker)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()

    def aborted(self, wire: Any, error: BaseException) -> bool | None:
        del wire
        said_so = isinstance(error, asyncpg.PostgresError) and error.severity is not None
        return True if said_so else None

    def error(self, code: str, message: str) -> Exception:
        made: Exception = asyncpg.PostgresError.new({"C": code, "M": message})
        return made

    def closed(self, message: str) -> Exception:
        return asyncpg.InterfaceError(message)


ASYNCIO: Final = AsyncioRuntime()


class Begun(Generic[T]):
    """A step that is taken at once until it has to wait; who awaits it takes the rest."""

    def __init__(self, step: Coroutine[Any, Any, T]) -> None:
        self._step = step
        self._value: T
        self._pending: Any = None
        self.done = False
        """Whether there is no rest."""
        try:
            self._pending = step.send(None)
        except StopIteration as end:
            self.done = True
            self._value = end.value

    def __await__(self) -> Generator[Any, Any, T]:
        pending = self._pending
        try:
            while not self.done:
                try:
                    answer = yield pending
                except BaseException as error:  # noqa: BLE001  # is the step's to handle
                    pending = self._step.throw(error)
                else:
                    pending = self._step.send(answer)
        except StopIteration as end:
            self.done = True
            self._value = end.value
        return self._value


async def within(seconds: float, step: Coroutine[Any, Any, T]) -> T:
    """Take a step that usually waits for nothing, and else must not take longer than a bound.

    Raises:
        TimeoutError: it did, and was cancelled.
    """
    begun = Begun(step)
    if begun.done:  # setting a bound would have cost more than the step
        return await begun
    async with asyncio.timeout(seconds):
        return await begun
