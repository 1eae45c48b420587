"""Tasks that still run when the test that started them is over.

What belongs to a wider fixture, to a lifespan or to a library lives on; so the tasks of the event
loops that tests share are counted before each test. A loop of the test's own ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Iterator

    Task = asyncio.Task[Any]

PATIENCE: Final = 1.0
"""Seconds in which cancelled tasks must have ended."""


async def _generator() -> AsyncGenerator[None]:
    yield


def _closing() -> type:
    closing = _generator().aclose()
    with contextlib.suppress(StopIteration):
        closing.send(None)  # else Python 3.12 warns that it was never awaited
    return type(closing)


_CLOSING: Final = _closing()


class Tasks:
    """The tasks of the shared event loops, before a test and after it."""

    def __init__(self) -> None:
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._before: set[Task] = set()
        self._unchanged = False
        """Whether nothing has run on the loops since a test ended and left nothing."""

    def share(self, loop: asyncio.AbstractEventLoop) -> None:
        """Learn of an event loop that outlives the test. What runs on it now is not the test's."""
        if all(known is not loop for known in self._loops):
            self._unchanged = False
            self._loops.append(loop)
            self._before |= asyncio.all_tasks(loop)

    def begin(self) -> None:
        """Let what is started from now on belong to a test."""
        self._loops = [loop for loop in self._loops if not loop.is_closed()]
        if not self._unchanged:
            self._before = self._running()
        self._unchanged = False

    def _running(self) -> set[Task]:
        return set().union(
            *(asyncio.all_tasks(loop) for loop in self._loops if not loop.is_closed())
        )

    @contextlib.contextmanager
    def others(self) -> Iterator[None]:
        """Let what is started meanwhile belong to a wider fixture."""
        before = self._running()
        self._unchanged = False
        try:
            yield
        finally:
            self._before |= self._running() - before

    def end(self, users: Callable[[], Collection[Task]]) -> list[str]:
        """End what the test has left on the shared loops, and say what it was.

        `users` returns tasks that hold a transaction, which are ended whoever has started them.
        """
        self._unchanged = self._running() <= self._before
        if self._unchanged:
            return []
        held = users()
        return [line for loop in self._loops for line in end_tasks(loop, held, self._before)]


def end_tasks(
    loop: asyncio.AbstractEventLoop,
    users: Collection[Task],
    spared: Collection[Task] = frozenset(),
) -> list[str]:
    """End the program's tasks on an event loop that does not run now, and say what they were.

    A library's own tasks are left alone, unless they are among the users of the database.
    """
    if loop.is_closed() or loop.is_running():
        return []
    said: dict[Task, str] = {}

    def left() -> set[Task]:
        return {
            task
            for task in asyncio.all_tasks(loop)
            if task not in spared and (task in said or task in users or _is_programs(task))
        }

    if not left():
        return []
    loop.run_until_complete(_cancel(left, said))
    return [line for line in said.values() if line]


async def _cancel(left: Any, said: dict[Task, str]) -> None:
    """Cancel tasks, and those that they start meanwhile; again after half the time."""
    me = asyncio.current_task()
    deadline = asyncio.get_running_loop().time() + PATIENCE
    for until in (deadline - PATIENCE / 2, deadline):
        cancelled: set[Task] = set()
        while (remaining := left() - {me}) and (
            time_left := until - asyncio.get_running_loop().time()
        ) > 0:
            for task in remaining - cancelled:
                said.setdefault(task, _describe(task))
                task.cancel()
            cancelled |= remaining
            await asyncio.wait(remaining, timeout=time_left, return_when="FIRST_COMPLETED")
    for task in filter(said.get, said):
        if not task.done():
            said[task] += f" and has survived its cancellation for {PATIENCE:g} s"
        elif not task.cancelled() and (error := task.exception()) is not None:
            said[task] += f"; its cancellation made it raise {type(error).__name__}: {error}"


async def generators_closed() -> None:
    """Give asynchronous generators that were left half-way the moment that closes them.

    The loop closes what the garbage collector finds, each in a task; they are the test's.
    """
    closing = [task for task in asyncio.all_tasks() if isinstance(task.get_coro(), _CLOSING)]
    if closing:
        await asyncio.wait(closing, timeout=PATIENCE)


def _describe(task: Task) -> str:
    """Say what a task was doing; nothing if it is part of another, which says it.

    SQLAlchemy ends `async with session.begin()` in a task of its own.
    """
    from .._origin import waiter

    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", None) or repr(coroutine)
    lines = list(_lines(coroutine))
    if not lines and waiter(task) is not None:
        return ""
    where = lines[-1] if lines else "an unknown line"
    return f"task {task.get_name()!r} ({name}) was still running at {where}"


def _is_programs(task: Task) -> bool:
    """Tell whether a line of the program is on the task's stack."""
    return any(True for _ in _lines(task.get_coro()))


def _lines(coroutine: Any) -> Iterator[str]:
    """Name the lines outside the libraries at which a coroutine is suspended, outermost first."""
    from .._origin import is_library

    step = coroutine
    while step is not None:
        frame = getattr(step, "cr_frame", None) or getattr(step, "ag_frame", None)
        frame = frame or getattr(step, "gi_frame", None)
        if frame is not None and not is_library(frame.f_code.co_filename):
            yield f"{frame.f_code.co_filename}:{frame.f_lineno}"
        step = (
            getattr(step, "cr_await", None)
            or getattr(step, "ag_await", None)
            or getattr(step, "gi_yieldfrom", None)
        )
