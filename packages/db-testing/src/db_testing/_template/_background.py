"""Work on databases that no test waits for: a thread, and a session of its own."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Final

from .._server._admin import Admin
from ..errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from sqlalchemy.engine import URL

PATIENCE: Final = 60.0
"""Seconds that each statement may take, and that somebody waits for a piece of work."""


class Background:
    """Does one piece of work after the other, on a session of the maintenance database."""

    def __init__(self, url: URL) -> None:
        """Connect to nothing yet."""
        self._url = url
        self._thread = concurrent.futures.ThreadPoolExecutor(
            1, thread_name_prefix="db-testing-background"
        )
        self._admin: Admin | None = None

    def start(self, work: Callable[[Admin], None]) -> Future[None]:
        """Begin a piece of work when those before it are done."""
        return self._thread.submit(self._run, work)

    def _run(self, work: Callable[[Admin], None]) -> None:
        if self._admin is None:
            self._admin = Admin(self._url)
        else:
            self._admin.revive()
        admin = self._admin
        admin.run(lambda: admin.connection.execute(f"SET statement_timeout = '{PATIENCE:g}s'"))
        work(admin)

    def close(self) -> None:
        """Disconnect when the work that has begun is done; the rest of it is not begun."""
        self._thread.shutdown(cancel_futures=True)
        if self._admin is not None:
            self._admin.close()
            self._admin = None


def succeeded(work: Future[None], what: str) -> bool:
    """Wait for a piece of work, and tell whether it has done what it was to do.

    Raises:
        ServerError: it takes too long.
    """
    try:
        return work.exception(PATIENCE) is None
    except concurrent.futures.TimeoutError:
        raise ServerError(
            f"{what} in the background has taken more than {PATIENCE:g} s. Is the server busy, or "
            f"its disk full?"
        ) from None
