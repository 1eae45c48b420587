"""Event loops: database tests and their asynchronous fixtures share the session's loop.

pytest-asyncio gives every test a loop of its own unless told otherwise, and every asynchronous
fixture a loop of its scope. A connection lives on one loop, so a test, its fixtures and the engine
must agree. Where the user has configured nothing, this module makes them agree on the session's
loop; where the user has, nothing is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import unittest
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from ..errors import FixtureError
from . import _anyio, _state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

TEST_SCOPE: Final = "asyncio_default_test_loop_scope"
FIXTURE_SCOPE: Final = "asyncio_default_fixture_loop_scope"
DEFAULTS: Final[Mapping[str, tuple[str | None, ...]]] = {
    TEST_SCOPE: ("function", "session"),
    FIXTURE_SCOPE: (
        None,
        "",
        "fixture-scope",  # what pytest-asyncio asks people to write to silence a warning
        "session",
    ),
}
"""What leaves the choice of loops open, or is what this module would choose."""

MOVED: Final[pytest.StashKey[bool]] = pytest.StashKey()
"""Whether a test was moved to the session's loop."""

INTERRUPTED_PATIENCE: Final = 5.0
"""Seconds within which a test that was interrupted, and then cancelled, must have ended."""

ENGINE: Final = "db_engine"
"""The fixture that every asynchronous database fixture depends on."""
BIND: Final = "db_bind"
DATABASE: Final = frozenset({ENGINE, "db_sync_engine", "test_database_url"})
"""The fixtures on one of which each depends that leads to the database."""


def is_database_test(item: pytest.Item) -> bool:
    """Tell whether a test asks for the database, or the application's objects lead there."""
    return ENGINE in getattr(item, "fixturenames", ()) or is_bound(item)


def asks_for_database(item: pytest.Item) -> bool:
    """Tell whether a test asks for the database by a fixture, whatever is bound."""
    return not DATABASE.isdisjoint(getattr(item, "fixturenames", ()))


def uses_database(item: pytest.Item) -> bool:
    """Tell whether a test may use the database in any way, also where its loop is not ours."""
    if asks_for_database(item) or is_bound(item):
        return True
    request: Any = getattr(item, "_request", None)  # knows what `getfixturevalue` was asked for
    return bool(request) and not DATABASE.isdisjoint(request.fixturenames)


def is_bound(item: pytest.Item) -> bool:
    """Tell whether the application's own objects lead to the database in a test."""
    fixtures = getattr(item, "_fixtureinfo", None)
    overridden = fixtures is not None and len(fixtures.name2fixturedefs.get(BIND, ())) > 1
    return overridden or bool(_state.settings(item.config).bind)


def share_session_loop(item: pytest.Item) -> None:
    """Move a database test to the session's loop, unless its loop was chosen."""
    marker = item.get_closest_marker("asyncio")
    if (
        marker is not None
        and not {"loop_scope", "scope"} & marker.kwargs.keys()
        and loops_are_ours(item.config)
    ):
        kwargs = {**marker.kwargs, "loop_scope": "session"}
        item.add_marker(pytest.mark.asyncio(**kwargs), append=False)
        item.stash[MOVED] = True


def shares_loop(item: pytest.Item) -> bool:
    """Tell whether a test asks for the engine, or has been moved to the session's loop."""
    return ENGINE in getattr(item, "fixturenames", ()) or item.stash.get(MOVED, False)


@functools.lru_cache(maxsize=1024)
def is_asynchronous(function: Callable[..., Any]) -> bool:
    """Tell whether a fixture's function needs an event loop."""
    # Asked for each fixture of each test; inspect takes some twenty calls to answer.
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


@contextlib.contextmanager
def fixture_on_session_loop(fixturedef: Any, request: pytest.FixtureRequest) -> Iterator[None]:
    """While a database test's asynchronous fixture is set up, give it the session's loop.

    pytest-asyncio reads a fixture's loop scope from the attribute that its decorator leaves on the
    function; there is no hook to choose it for a test.
    """
    function = getattr(fixturedef.func, "__func__", fixturedef.func)
    try:
        test = request._pyfuncitem  # noqa: SLF001  # request.node is a collector in wider scopes
        uses_database = is_database_test(test)
        hold(test, uses_database=uses_database)
    except FixtureError as error:
        # pytest remembers a fixture's error only when the fixture itself raises it.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fixturedef, "func", _raising(error))
            try:
                yield
            finally:
                # Not for a test of the same fixture on another backend.
                fixturedef.cached_result = (None, object(), (error, error.__traceback__))
        return
    if (
        not uses_database
        or getattr(function, "_loop_scope", None) is not None
        or not loops_are_ours(request.config)
        or _chosen_scope(test) != "session"
    ):
        yield
        return
    function._loop_scope = "session"  # noqa: SLF001
    try:
        yield
    finally:
        function._loop_scope = None  # noqa: SLF001


def hold(test: pytest.Item, *, uses_database: bool) -> _anyio.HeldLoop | None:
    """Hold a loop of anyio's plugin for a test that needs one: see :func:`_anyio.prepare`.

    Raises:
        FixtureError: the test uses the database, and its backend is not asyncio.
    """
    held = _anyio.prepare(test, uses_database=uses_database)
    if held is not None:
        _state.share(test.config, held.loop)
    return held


def _raising(error: FixtureError) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise error

    return refuse


def loop_of_test(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoop:
    """Return the event loop that a test will run on, while its fixtures are set up.

    Raises:
        FixtureError: nobody knows yet, or nobody will run the test.
    """
    test = request._pyfuncitem  # noqa: SLF001
    held = hold(test, uses_database=True)
    if held is not None:
        return held.loop
    if isinstance(request.instance, unittest.TestCase):
        why = (
            "belongs to a unittest.TestCase, whose event loop does not exist before its own set-up "
            "begins. Take db_engine or db_sessionmaker instead, and connect in asyncSetUp or in "
            "the test."
        )
    elif not has_pytest_asyncio(request.config):
        why = (
            "is run by no plugin that brings an event loop: pytest-asyncio is turned off, and the "
            "test is not anyio's. Mark it @pytest.mark.anyio, or turn pytest-asyncio on."
        )
    else:
        # Not by an asynchronous fixture, which anyio's plugin may take for its own.
        runner: asyncio.Runner = request.getfixturevalue(f"_{_loop_scope(test)}_scoped_runner")
        return runner.get_loop()
    raise FixtureError(f"{test.nodeid} asked for an open connection, but {why}")


def _loop_scope(test: pytest.Item) -> str:
    """Return the scope of the loop on which pytest-asyncio runs a test."""
    marker = test.get_closest_marker("asyncio")
    if marker is None:
        return "session" if loops_are_ours(test.config) else "function"
    chosen = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope")
    scope: str = chosen or test.config.getini(TEST_SCOPE)
    return scope


def end_interrupted(test: pytest.Item, loops: list[asyncio.AbstractEventLoop]) -> None:
    """End a test that a signal has interrupted, as pytest-timeout's does: its task still waits.

    Else it would go on during the next test, on the same loop, and write into its database.
    """
    function: Any = getattr(test, "function", None)
    code = getattr(inspect.unwrap(function), "__code__", None) if function else None
    for loop in loops:
        tasks = [] if loop.is_closed() else asyncio.all_tasks(loop)
        waiting = [task for task in tasks if getattr(task.get_coro(), "cr_code", None) is code]
        for task in waiting:
            task.cancel()
        if waiting:
            loop.run_until_complete(asyncio.wait(waiting, timeout=INTERRUPTED_PATIENCE))


def has_pytest_asyncio(config: pytest.Config) -> bool:
    """Tell whether pytest-asyncio, which is always installed, is also active."""
    return config.pluginmanager.has_plugin("asyncio")


def _chosen_scope(test: pytest.Item) -> str | None:
    """Return the loop scope of a database test that is being set up."""
    marker = test.get_closest_marker("asyncio")
    if marker is None:
        # A plain test function whose asynchronous fixtures use the database.
        return "session"
    scope = marker.kwargs.get("loop_scope")
    return scope if isinstance(scope, str) else None


def loops_are_ours(config: pytest.Config) -> bool:
    """Tell whether the user has left the choice of loops open, or chosen as this module does.

    pytest does not tell a default from the same value written down.
    """
    return has_pytest_asyncio(config) and all(
        config.getini(name) in defaults for name, defaults in DEFAULTS.items()
    )
