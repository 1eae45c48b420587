"""What the plugin keeps for the length of a run: settings, the worker, and its figures."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from .. import _settings
from .._isolation._tasks import Tasks, end_tasks
from .._server import _server
from ..errors import SetupError
from ..report import Summary
from . import _ladder, _outcomes, _recorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._isolation._isolation import Isolation
    from ..schema import SchemaLike
    from ._attempt import Attempt
    from ._bind import Bindings
    from ._worker import Application, Worker


@dataclass(eq=False, slots=True)
class Run:
    """What one process knows of its run."""

    settings: _settings.Settings
    ladder: _ladder.Ladder
    outcomes: _outcomes.Outcomes | None
    """None in a process of xdist's, which reports to another."""
    summary: Summary = field(default_factory=Summary)
    tasks: Tasks = field(default_factory=Tasks)
    ahead: _server.Ahead | None = None
    """The server, if a test has begun that asks for it."""
    worker: Worker | None = None
    """None until a test has asked for the database."""
    bindings: Bindings | None = None
    attempt: Attempt | None = None
    """The test that is running, while fixtures of its own exist."""
    following: pytest.Item | None = None
    """The test that will run after it."""
    leaks: list[str] = field(default_factory=list)
    """What it has left on an event loop of its own."""
    marked: list[str] = field(default_factory=list)
    """Which files were marked."""


RUN: Final[pytest.StashKey[Run]] = pytest.StashKey()
"""One key for everything: each look into a stash takes three calls, and each test has many."""


def configure(config: pytest.Config) -> None:
    """Read the settings, which may be wrong, before anything else happens."""
    read = _settings.read(config, run=uuid.uuid4().hex[:10])
    outcomes = None if hasattr(config, "workerinput") else _outcomes.Outcomes(config)
    config.stash[RUN] = Run(read, _ladder.Ladder.read(config), outcomes)
    if outcomes is not None:
        config.pluginmanager.register(outcomes, "db_testing_outcomes")
    config.add_cleanup(functools.partial(_leave, config))  # what pytest adds later comes before
    _recorder.register(config, read)


def settings(config: pytest.Config) -> _settings.Settings:
    """Return the run's settings."""
    return config.stash[RUN].settings


def summary(config: pytest.Config) -> Summary:
    """Return the run's figures."""
    return config.stash[RUN].summary


def start_ahead(config: pytest.Config) -> None:
    """Let a server of our own start while what a test needs is imported."""
    run = config.stash[RUN]
    if run.ahead is not None or run.worker is not None:
        return
    if config.getoption("setupplan", default=False):
        return
    if _settings.OWN_SERVER.fullmatch(run.settings.server):
        run.ahead = _server.Ahead(run.settings.server, keepalive=run.settings.keepalive)


def application(config: pytest.Config, schema: SchemaLike) -> Application:
    """Return this process's database of a schema, made on first use.

    Raises:
        SetupError: there is no server, or the schema cannot be applied.
    """
    run = config.stash[RUN]
    if run.worker is None:
        # Only a run that uses the database pays for SQLAlchemy and asyncpg, 0.6 s here.
        from ._worker import Worker

        run.worker = Worker(run.settings, functools.partial(_say, config), run.ahead)
        if run.attempt is not None:
            run.worker.begin(run.attempt.test.nodeid, run.attempt.isolation)
    return run.worker.application(schema)


def _say(config: pytest.Config, line: str) -> None:
    """Print a line past pytest's capturing. An xdist worker has the terminal's standard error."""
    from .._server._admin import tell

    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        tell(line)


def bind(session: pytest.Session, objects: Sequence[object], schema: SchemaLike) -> None:
    """Lead the application's objects to the database of a schema, until the end of the run.

    Raises:
        SetupError: one of them cannot be led there.
    """
    from ._bind import Bindings, Target

    if isinstance(objects, str):
        raise SetupError(f"the fixture db_bind returned {objects!r}. Return a list.")
    config = session.config

    def make() -> Isolation:
        try:
            return application(config, schema).isolation
        except SetupError as error:
            stop(session, error)

    run = config.stash[RUN]
    if run.bindings is None:
        run.bindings = Bindings()
    target = Target(make, schema)
    for each in objects:
        run.bindings.bind(each, target)


def close(config: pytest.Config) -> None:
    """Give the application's objects back, and begin to drop the databases.

    What the server does then takes up to a tenth of a second. pytest has things to do meanwhile.
    """
    run = config.stash[RUN]
    bindings, run.bindings = run.bindings, None
    if bindings is not None:
        bindings.close()
    if run.worker is not None:
        for used in run.worker.applications:
            run.summary.add(used.isolation.tests, used.isolation.seconds)
            run.summary.replaced += used.isolation.replaced
            run.summary.staying |= used.isolation.staying()
        run.worker.leave()
    if hasattr(config, "workerinput"):
        _leave(config)  # a process of xdist's that has finished is killed if it stays for long


def _leave(config: pytest.Config) -> None:
    """Leave no database behind, and give the server up."""
    run = config.stash[RUN]
    worker, run.worker = run.worker, None
    ahead, run.ahead = run.ahead, None
    with contextlib.ExitStack() as steps:
        if ahead is not None:
            steps.callback(ahead.release)
        if worker is not None:
            steps.callback(worker.close)


def isolation_seconds(config: pytest.Config) -> float:
    """Return how long isolating tests has taken in this process so far."""
    worker = config.stash[RUN].worker
    return sum(used.isolation.seconds for used in worker.applications) if worker else 0.0


def ladder(config: pytest.Config) -> _ladder.Ladder:
    """Return what is known of the tests that cannot be rolled back."""
    return config.stash[RUN].ladder


def mark(config: pytest.Config) -> bool:
    """Write markers into the tests that were moved; tell whether that could be done."""
    from ._markers import Move, plan

    moves = []
    for test in ladder(config).moved:
        file, _, names = test.partition("::")
        # Parameters may hold anything, and xdist's loadgroup adds a group: no name has these signs.
        names = names.partition("[")[0].partition("@")[0]
        moves.append(Move(config.rootpath / file, tuple(names.split("::")), "commit"))
    try:
        planned = plan(moves, root=config.rootpath)
        said = [f"db-testing: marked tests in {path}" for path in planned.write()]
        said += [f"db-testing: not marked: {left.reason}" for left in planned.left]
    except (SetupError, OSError) as error:  # the run itself has more to say
        config.stash[RUN].marked = [f"db-testing: not marked: {error}"]
        return False
    config.stash[RUN].marked = said
    return True


def marked(config: pytest.Config) -> list[str]:
    """Say which files were marked."""
    return config.stash[RUN].marked


def settle(config: pytest.Config) -> None:
    """Undo what fixtures of wider scope did as they ended, before those of the next test begin."""
    run = config.stash[RUN]
    if run.worker is not None:
        left = run.worker.finish()
        run.summary.leaks += [(test, shown(config, leak)) for test, leak in left]
        run.worker.settle()


def shown(config: pytest.Config, leak: str) -> str:
    """Show lines of the project as pytest shows its tests."""
    return leak.replace(f"{config.rootpath}{os.sep}", "")


def loops(config: pytest.Config) -> list[asyncio.AbstractEventLoop]:
    """Return the event loops from which the test has used the database."""
    worker = config.stash[RUN].worker
    return worker.loops if worker is not None else []


def seal(config: pytest.Config) -> None:
    """Commit the data layers that a fixture has just written."""
    worker = config.stash[RUN].worker
    if worker is not None:
        worker.seal()


def has_loop(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest, value: object
) -> None:
    """Learn of the event loop that a fixture of pytest-asyncio's has made, if it has."""
    loop = value.get_loop() if isinstance(value, asyncio.Runner) else value
    if not isinstance(loop, asyncio.AbstractEventLoop):
        return
    if fixturedef.scope == "function":
        # When its fixtures are gone, and before it closes.
        asked = "db_engine" in request.fixturenames
        fixturedef.addfinalizer(lambda: _end_loop(request.config, loop, asked=asked))
    else:
        share(request.config, loop)


def share(config: pytest.Config, loop: asyncio.AbstractEventLoop) -> None:
    """Learn of an event loop that outlives the tests that run on it."""
    config.stash[RUN].tasks.share(loop)


def _end_loop(config: pytest.Config, loop: asyncio.AbstractEventLoop, *, asked: bool) -> None:
    """End what a test that asked for the database, or used it, has left on a loop of its own."""
    run = config.stash[RUN]
    worker = run.worker
    if worker is not None and (asked or loop in worker.loops):
        run.leaks += end_tasks(loop, worker.users)


@contextlib.contextmanager
def others(config: pytest.Config) -> Iterator[None]:
    """Let what is done meanwhile be a wider fixture's, and not the test's."""
    run = config.stash[RUN]
    with contextlib.ExitStack() as stack:
        stack.enter_context(run.tasks.others())
        if run.worker is not None:
            stack.enter_context(run.worker.others())
        yield


def compared(config: pytest.Config) -> list[str]:
    """Say how tests fare in the isolation that was asked for, beside others."""
    asked: str | None = config.getoption("db_isolation")
    outcomes = config.stash[RUN].outcomes
    if asked is None or outcomes is None:
        return []
    as_usual = asked == "auto" and config.getini("db_isolation") in {"rollback", "auto"}
    return outcomes.lines("rollback" if as_usual else None)


def body_is_over(config: pytest.Config) -> None:
    """Learn that only fixtures of the running test are left to end."""
    worker = config.stash[RUN].worker
    if worker is not None:
        worker.body_is_over()


def write_outcomes(config: pytest.Config) -> None:
    """Remember what each test came to."""
    outcomes = config.stash[RUN].outcomes
    if outcomes is not None:
        outcomes.write()


def stop(session: pytest.Session, error: SetupError) -> NoReturn:
    """End the run with one error: without a database, every test would fail for the same reason."""
    what, why = "db-testing could not set the database up", f"db-testing: {error}"
    if hasattr(session.config, "workerinput"):
        # Each worker ends with an error of its own; why it does, xdist prints for the first only.
        what, why = why, f"{what}; the last lines of this report say why"
    session.shouldstop = what
    raise pytest.fail.Exception(why, pytrace=False) from None
