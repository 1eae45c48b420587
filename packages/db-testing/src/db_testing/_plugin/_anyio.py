"""anyio's pytest plugin: database tests share one of its loops, and trio is refused.

That plugin makes an event loop for each test, and closes it after the test, unless an asynchronous
fixture of wider scope holds it. A connection lives on one loop, so each test would pay for a new
one. Here the run itself holds a loop, for as long as tests ask for the same backend.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from ..errors import FixtureError

if TYPE_CHECKING:
    from anyio.abc import TestRunner

BACKEND: Final = "anyio_backend"
"""The fixture of anyio's plugin that every test it runs depends on."""

LEFTOVER_PATIENCE: Final = 5.0
"""Seconds within which a cancelled test must have ended."""

HELD: pytest.StashKey[HeldLoop] = pytest.StashKey()


class HeldLoop:
    """A loop of anyio's plugin, which lives until :meth:`release`."""

    def __init__(self, backend: object) -> None:
        """Make one for the value of `anyio_backend`, or hold the one that a fixture has made."""
        from anyio.pytest_plugin import extract_backend_and_options, get_runner

        self.backend = backend
        self._runner: TestRunner
        self.loop: asyncio.AbstractEventLoop
        with contextlib.ExitStack() as steps:
            self._runner = steps.enter_context(get_runner(*extract_backend_and_options(backend)))
            self.loop = self._runner.run_fixture(_running_loop, {})
            self._exit = steps.pop_all()

    def renew_context(self) -> None:
        """Let the next test begin with context variables of its own, as on a loop of its own.

        The plugin runs all that happens on a loop in one task. Where a fixture of wider scope holds
        the loop too, that is what its user asked for.
        """
        from anyio import pytest_plugin

        task: asyncio.Task[None] | None = getattr(self._runner, "_runner_task", None)
        if task is None or pytest_plugin._runner_leases > 1:  # noqa: SLF001
            return
        task.cancel()  # it waits for the next test, or is still in one that a timeout has ended
        self.loop.run_until_complete(asyncio.wait({task}, timeout=LEFTOVER_PATIENCE))
        runner: Any = self._runner
        runner._runner_task = None  # noqa: SLF001

    def release(self) -> None:
        """Let the loop be closed, unless a fixture holds it too."""
        self._exit.close()


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def prepare(test: Any, *, uses_database: bool) -> HeldLoop | None:
    """Hold a loop for a test that anyio's plugin will run; None if it will not, or needs none.

    Raises:
        FixtureError: the test uses the database, and its backend is not asyncio.
    """
    if BACKEND not in test.fixturenames or test.get_closest_marker("asyncio") is not None:
        return None
    config = test.config
    backend = test._request.getfixturevalue(BACKEND)  # noqa: SLF001
    held: HeldLoop | None = config.stash.get(HELD, None)
    if held is not None and held.backend != backend:
        release(config)  # the plugin has one loop at a time, whatever is asked for
        held = None
    if not uses_database or held is not None:
        return held
    name = backend[0] if isinstance(backend, tuple) else backend
    if name != "asyncio":
        raise FixtureError(
            f"{test.nodeid} asked for the database and runs on {name}, but asyncpg, the driver, "
            f"needs asyncio. Define in conftest.py, or in a module or class for its own tests\n\n"
            f'    @pytest.fixture(scope="session")\n'
            f"    def anyio_backend():\n"
            f'        return "asyncio"'
        )
    held = config.stash[HELD] = HeldLoop(backend)
    return held


def release(config: pytest.Config) -> None:
    """Release the loop, if the run holds one."""
    held = config.stash.get(HELD, None)
    if held is not None:
        del config.stash[HELD]
        held.release()
