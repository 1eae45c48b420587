"""Where in the program something began: what errors name, and what is listed as left behind."""

from __future__ import annotations

import asyncio
import functools
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import greenlet  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from types import FrameType

_LIBRARY_FOLDERS: Final = (
    str(Path(__file__).parent),
    str(Path(asyncio.__file__).parent.parent),
    sysconfig.get_path("scripts"),  # pytest's own command
    "<",
)

_TASK_STEP: Final = asyncio.Handle._run.__code__  # noqa: SLF001
"""What calls a task: beneath it is the event loop, and whoever happens to run that."""

_passed: Final[set[str]] = set()
"""Libraries' files that were met on the way to a caller, and can be passed without a look."""


@functools.cache
def is_library(filename: str) -> bool:
    """Tell whether a file is not the program's own: installed, Python's, or db-testing's."""
    return not filename.startswith("<doctest ") and (
        filename.startswith(_LIBRARY_FOLDERS)
        or any(folder in filename for folder in ("site-packages", "dist-packages"))
    )


def caller(*, beneath: str = "") -> str:
    """Name the line of the program that is running, outside the libraries: `file:line`.

    Nothing, where code of the library's file `beneath` has been called on the way.
    """
    frame = sys._getframe(1)  # noqa: SLF001  # inspect.stack() reads sources
    return _line(frame, greenlet.getcurrent(), beneath)


def awaiting() -> str:
    """Name the line of the program that awaits SQLAlchemy, where it is asynchronous.

    What :func:`caller` looks at besides are thirty frames of SQLAlchemy's own, in a greenlet.
    """
    within = greenlet.getcurrent()
    if getattr(within, "__sqlalchemy_greenlet_provider__", False):
        within = within.parent
        return _line(within.gr_frame, within)
    return _line(sys._getframe(1), within)  # noqa: SLF001


def _line(frame: FrameType | None, within: greenlet.greenlet, beneath: str = "") -> str:
    passed = frozenset[str]() if beneath else _passed
    while frame is not None:
        filename = frame.f_code.co_filename
        if filename not in passed:
            if frame.f_code is _TASK_STEP:
                break
            if not is_library(filename):
                return f"{filename}:{frame.f_lineno}"
            if filename == beneath:
                return ""
            if filename != _TASK_STEP.co_filename:
                _passed.add(filename)
        frame = frame.f_back
        if frame is None and within.parent is not None:
            # SQLAlchemy's asynchronous engine runs its synchronous code, and events, in greenlets.
            within = within.parent
            frame = within.gr_frame
    return _waiting_line() or "an unknown line"


def _waiting_line() -> str | None:
    """Name the line that waits for a task in which only libraries run.

    SQLAlchemy ends `async with session.begin()` in such a task, shielded from cancellation. Until
    Python 3.14 asyncio does not say who waits for a task, but the futures that connect them do.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    other = waiter(task) if task is not None else None
    line = None
    step: Any = other.get_coro() if other is not None else None
    while (frame := getattr(step, "cr_frame", None)) is not None:
        if not is_library(frame.f_code.co_filename):
            line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        step = step.cr_await
    return line


def waiter(task: asyncio.Task[Any]) -> asyncio.Task[Any] | None:
    """Return a task of the same event loop that waits for another, perhaps shielding it."""
    awaited: set[object] = {task}
    for callback, _ in getattr(task, "_callbacks", None) or ():
        cells = getattr(callback, "__closure__", None) or ()
        awaited |= {cell.cell_contents for cell in cells if asyncio.isfuture(cell.cell_contents)}
    for other in asyncio.all_tasks(task.get_loop()):
        if getattr(other, "_fut_waiter", None) in awaited:
            return other
    return None
