"""The sandbox's coroutines in threads: they take turns exactly as tasks of an event loop do.

Synchronous code drives a coroutine itself. Wherever a task would be suspended, the coroutine yields
what to wait for, and :class:`Threads` waits for it. Between two such points one thread alone runs
the sandbox's code, as one task alone does, so that all that is proved of tasks is true of threads.

A thread of a pool outlives the work that it is given, so what is over is told by the work's
context: whoever copies the context for each piece of work (`asyncio.to_thread`, anyio, Starlette)
drops the copy when the work is done. Lineage travels in the context too. A thread that was started
without one is nobody's descendant, and is done when it ends.
"""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator

    from ._psycopg_wire import PsycopgWire
    from ._runtime import Event, Lock, Worker

T = TypeVar("T")
Bell = queue.SimpleQueue[None]
"""Rung from anywhere, a weak reference's callback included."""


class Step:
    """What a coroutine waits for: a call that may block."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __await__(self) -> Generator[Step, Any, Any]:
        return (yield self)


class Body:
    """Where a coroutine lets its caller go on: the body of :meth:`Threads.inside`."""

    __slots__ = ("wire",)

    def __init__(self, wire: PsycopgWire) -> None:
        self.wire = wire

    def __await__(self) -> Generator[Body, Any, Any]:
        return (yield self)


class Ended:
    """A coroutine's end."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Turnstile:
    """Lets one thread at a time run the sandbox's code."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._late: deque[Callable[[], None]] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        try:
            while self._late:
                self._late.popleft()()
        finally:
            self._owner = None
            self._lock.release()

    def finalize(self, call: Callable[[], None]) -> None:
        """Make a call now, or when this thread leaves: garbage is collected in the midst of it."""
        if self._owner == threading.get_ident():
            self._late.append(call)
        else:
            with self:
                call()


class Threads:
    """The runtime of threads and psycopg; see :class:`._runtime.Runtime`."""

    worker = "thread"
    wire_errors: tuple[type[Exception], ...] = (TimeoutError, OSError, psycopg.Error)
    loops_end = False

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self._process = Process()

    # ----------------------------------------------------------------- driving coroutines

    def drive(self, coroutine: Coroutine[Step, Any, T]) -> T:
        """Run a coroutine to its end."""
        end = self._advance(coroutine, None)
        assert isinstance(end, Ended)  # noqa: S101  # has no body to let its caller into
        value: T = end.value
        return value

    @contextlib.contextmanager
    def inside(
        self, make: Callable[[Callable[[PsycopgWire], Coroutine[Any, Any, None]]], Any]
    ) -> Iterator[PsycopgWire]:
        """Run the body of a `with` block as the operation of a coroutine."""

        async def operation(wire: PsycopgWire) -> None:
            await Body(wire)

        coroutine = make(operation)
        body = self._advance(coroutine, None)
        assert isinstance(body, Body)  # noqa: S101  # else it raised
        try:
            yield body.wire
        except BaseException as error:
            self._advance(coroutine, error)
            raise
        self._advance(coroutine, None)

    def _advance(
        self, coroutine: Coroutine[Any, Any, Any], error: BaseException | None
    ) -> Body | Ended:
        value: Any = None
        try:
            while True:
                with self.turnstile:
                    try:
                        step = coroutine.send(value) if error is None else coroutine.throw(error)
                    except StopIteration as end:
                        # Not the exception, whose traceback would keep every frame up to here.
                        return Ended(end.value)
                if isinstance(step, Body):
                    return step
                value = error = None
                try:
                    value = step.call()
                except BaseException as caught:  # noqa: BLE001  # is raised where it is waited for
                    error = caught
        finally:
            del error  # whose traceback refers to this frame

    # ----------------------------------------------------------------- what the sandbox needs

    def opened(self, wire: Any) -> None:
        """Nothing is to be done."""

    def loop(self) -> Process:
        return self._process

    def current(self) -> ThreadWorker:
        work = _work.get()
        if work is None or work.worker.thread is not threading.current_thread():
            work = Work()
            _work.set(work)
        return work.worker

    def lock(self) -> ThreadLock:
        return ThreadLock()

    def event(self) -> ThreadEvent:
        return ThreadEvent()

    async def acquire(self, lock: Lock, seconds: float) -> None:
        assert isinstance(lock, ThreadLock)  # noqa: S101  # this runtime's own
        if not await lock.acquire(seconds):
            raise TimeoutError

    async def ended_or_orphaned(self, ended: Event, worker: Worker | None, seconds: float) -> None:
        assert isinstance(ended, ThreadEvent)  # noqa: S101  # this runtime's own
        bell = Bell()
        towers = [ended.bells, worker.bells if isinstance(worker, ThreadWorker) else []]
        for tower in towers:
            tower.append(bell)
        try:
            if not ended.happened and not (worker is not None and worker.done()):
                await Step(lambda: bell.get(timeout=seconds))
        except queue.Empty:
            raise TimeoutError from None
        finally:
            for tower in towers:
                tower.remove(bell)

    async def finish(self, step: Coroutine[Any, Any, T], *, otherwise: Callable[[], None]) -> T:
        del otherwise  # nobody cancels a thread
        return await step

    def aborted(self, wire: PsycopgWire, error: BaseException) -> bool:
        del error
        status = wire.pgconn.transaction_status
        if status == TransactionStatus.ACTIVE:
            wire.terminate()  # interrupted in the middle of a message
        return status == TransactionStatus.INERROR

    def error(self, code: str, message: str) -> Exception:
        return psycopg.errors.lookup(code)(message)

    def closed(self, message: str) -> Exception:
        return psycopg.OperationalError(message)


class Process:
    """Where every wire of psycopg lives."""

    def is_closed(self) -> bool:
        return False


class ThreadLock:
    """A lock that is taken by coroutines in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times = 0
        """How often it was taken."""

    async def acquire(self, seconds: float = -1) -> bool:
        if not self._lock.acquire(blocking=False):
            before = self._times
            while not await Step(lambda: self._lock.acquire(timeout=seconds)):
                if self._times == before:
                    return False
                before = self._times  # others have had it; one of them may keep it
        self._times += 1
        return True

    def release(self) -> None:
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()


class ThreadEvent:
    """Something that happens once."""

    def __init__(self) -> None:
        self.happened = False
        self.bells: list[Bell] = []

    def set(self) -> None:
        self.happened = True
        for bell in self.bells:
            bell.put(None)


class ThreadWorker:
    """A piece of a thread's work: all that it does in one context."""

    def __init__(self, work: Work) -> None:
        self.thread = threading.current_thread()
        self.bells: list[Bell] = []
        self._work = weakref.ref(work, self._over)

    def _over(self, _: object) -> None:
        for bell in self.bells:
            bell.put(None)

    def done(self) -> bool:
        return self._work() is None or not self.thread.is_alive()

    def get_name(self) -> str:
        return self.thread.name


class Work:
    """Lives as long as the context in which a thread works."""

    def __init__(self) -> None:
        self.worker = ThreadWorker(self)


_work: Final[contextvars.ContextVar[Work | None]] = contextvars.ContextVar(
    "db_testing_work", default=None
)
