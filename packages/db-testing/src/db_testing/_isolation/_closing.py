"""What a test was given is closed when the test is over, on the event loop that it lives on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import DBAPIError

from .._sandbox._runtime import within
from .._server._admin import WIRE_ERRORS
from ..errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Close = Callable[[], Coroutine[Any, Any, None]]

PATIENCE: Final = 5.0
"""Seconds that closing a session or a connection may take, perhaps in code of the application's."""


class Closing:
    """What the running test was given."""

    def __init__(self) -> None:
        """Have given nothing yet."""
        self.failure: SandboxError | None = None
        """What of the last test could not be closed in time."""
        self._closing: list[Close] = []

    def __bool__(self) -> bool:
        return bool(self._closing)

    def add(self, close: Close) -> None:
        """Have something closed when the test is over."""
        self._closing.append(functools.partial(self._close_in_time, close))

    def take(self) -> list[Close]:
        """Return what closes it all, once."""
        closing, self._closing = self._closing, []
        return closing

    async def _close_in_time(self, close: Close) -> None:
        try:
            await within(PATIENCE, close())
        except TimeoutError:
            self.failure = SandboxError(
                f"{close.__qualname__}() was called when the test was over and had not returned "
                f"after {PATIENCE:g} s, so it was cancelled. What does it wait for?"
            )


async def close_what_is_left(close: Close) -> None:
    """Close what may have lost its connection, so that nothing can be rolled back any more."""
    with contextlib.suppress(DBAPIError, *WIRE_ERRORS):
        await close()


def close_without_loop(closing: list[Close]) -> None:
    """Close what the test was given when its event loop is gone: nothing is sent any more."""
    # With a factory the runner leaves the thread's current event loop alone.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        for close in closing:
            runner.run(close_what_is_left(close))
