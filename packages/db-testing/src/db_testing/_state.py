"""What the plugin keeps for the length of a run: settings, the worker, and its figures."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import pytest

from . import _ladder, _outcomes, _recorder, _settings
from ._tasks import Tasks, end_tasks
from .errors import SetupError
from .report import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._bind import Bindings
    from ._isolation import Isolation
    from ._worker import Application, Worker
    from .schema import SchemaLike


class Running(NamedTuple):
    """A test that has begun."""

    name: str
    isolation: _settings.IsolationName
    """What undoes it."""
    may_move: bool
    """Whether it is run again in another isolation, should it need one."""


SETTINGS: pytest.StashKey[_settings.Settings] = pytest.StashKey()
WORKER: pytest.StashKey[Worker] = pytest.StashKey()
BINDINGS: pytest.StashKey[Bindings] = pytest.StashKey()
SUMMARY: pytest.StashKey[Summary] = pytest.StashKey()
TEST: pytest.StashKey[Running | None] = pytest.StashKey()
"""The test that is running, while fixtures of its own exist."""
ISOLATION: pytest.StashKey[_settings.IsolationName] = pytest.StashKey()
"""What undoes a test that has begun."""
OUTCOMES: pytest.StashKey[_outcomes.Outcomes] = pytest.StashKey()
TASKS: pytest.StashKey[Tasks] = pytest.StashKey()
NEXT: pytest.StashKey[pytest.Item | None] = pytest.StashKey()
"""The test that will run after the running one."""
KEPT: pytest.StashKey[list[str]] = pytest.StashKey()
"""Of a failed test, what has become of its databases."""
LEAKS: pytest.StashKey[list[str]] = pytest.StashKey()
"""What the running test has left on an event loop of its own."""
FAILED: pytest.StashKey[bool] = pytest.StashKey()
MARKED: pytest.StashKey[list[str]] = pytest.StashKey()
LADDER: pytest.StashKey[_ladder.Ladder] = pytest.StashKey()


def configure(config: pytest.Config) -> None:
    """Read the settings, which may be wrong, before anything else happens."""
    config.stash[SETTINGS] = _settings.read(config, run=uuid.uuid4().hex[:10])
    config.stash[SUMMARY] = Summary()
    config.stash[TASKS] = Tasks()
    config.stash[LEAKS] = []
    config.stash[LADDER] = _ladder.Ladder.read(config)
    if not hasattr(config, "workerinput"):
        config.stash[OUTCOMES] = _outcomes.Outcomes(config)
        config.pluginmanager.register(config.stash[OUTCOMES], "db_testing_outcomes")
    _recorder.register(config, settings(config))


def settings(config: pytest.Config) -> _settings.Settings:
    """Return the run's settings."""
    return config.stash[SETTINGS]


def summary(config: pytest.Config) -> Summary:
    """Return the run's figures."""
    return config.stash[SUMMARY]


def application(config: pytest.Config, schema: SchemaLike) -> Application:
    """Return this process's database of a schema, made on first use.

    Raises:
        SetupError: there is no server, or the schema cannot be applied.
    """
    worker = config.stash.get(WORKER, None)
    if worker is None:
        # Only a run that uses the database pays for SQLAlchemy and asyncpg, 0.6 s here.
        from ._worker import Worker

        worker = config.stash[WORKER] = Worker(settings(config), functools.partial(_say, config))
        test = config.stash.get(TEST, None)
        if test is not None:
            worker.begin(test.name, test.isolation)
    return worker.application(schema)


def _say(config: pytest.Config, line: str) -> None:
    """Print a line past pytest's capturing. An xdist worker has the terminal's standard error."""
    from ._admin import tell

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

    bindings = config.stash.get(BINDINGS, None)
    if bindings is None:
        bindings = config.stash[BINDINGS] = Bindings()
    target = Target(make, repr(schema))
    for each in objects:
        bindings.bind(each, target)


def close(config: pytest.Config) -> None:
    """Give the application's objects back, drop every database and give the server up."""
    bindings = config.stash.get(BINDINGS, None)
    if bindings is not None:
        del config.stash[BINDINGS]
        bindings.close()
    worker = config.stash.get(WORKER, None)
    if worker is not None:
        del config.stash[WORKER]
        for used in worker.applications:
            summary(config).add(used.isolation.tests, used.isolation.seconds)
            summary(config).replaced += used.isolation.replaced
        worker.close()


def _begins_above(test: pytest.Item) -> bool:
    worker = test.config.stash.get(WORKER, None)
    unfit = worker.identity_dependent if worker is not None else ()
    return test.config.stash[LADDER].begins_above(test, unfit)


def run(test: pytest.Item, following: pytest.Item | None) -> bool:
    """Run a test that may have to be run again; tell whether it was such a test."""
    if _asked(test) != "auto" or _begins_above(test):
        return False
    test.config.stash[LADDER].run(test, following)
    return True


def ladder(config: pytest.Config) -> _ladder.Ladder:
    """Return what is known of the tests that cannot be rolled back."""
    return config.stash[LADDER]


def mark(config: pytest.Config) -> None:
    """Write markers into the tests that were moved."""
    from ._markers import Move, plan

    moves = []
    for test in ladder(config).moved:
        file, *names = test.split("::")
        names[-1] = names[-1].partition("[")[0]
        moves.append(Move(config.rootpath / file, tuple(names), "commit"))
    planned = plan(moves, root=config.rootpath)
    said = [f"db-testing: marked tests in {path}" for path in planned.write()]
    said += [f"db-testing: not marked: {left.reason}" for left in planned.left]
    config.stash[MARKED] = said


def marked(config: pytest.Config) -> list[str]:
    """Say which files were marked."""
    return config.stash.get(MARKED, [])


def _choice(test: pytest.Item) -> _settings.Choice:
    marker = test.get_closest_marker("db")
    if marker is None:
        return settings(test.config).isolation
    chosen = marker.kwargs.get("isolation")
    if marker.args or marker.kwargs.keys() != {"isolation"} or chosen not in _settings.CHOICES:
        raise pytest.UsageError(
            f"{test.nodeid}: the marker db takes isolation= and one of {_settings.CHOICES}, "
            f'as in @pytest.mark.db(isolation="commit"); it has {marker.args} {marker.kwargs}.'
        )
    return chosen  # type: ignore[no-any-return]  # one of the names


def settle(config: pytest.Config) -> None:
    """Undo what fixtures of wider scope did as they ended, before those of the next test begin."""
    worker = config.stash.get(WORKER, None)
    if worker is not None:
        worker.settle()


def loops(config: pytest.Config) -> list[asyncio.AbstractEventLoop]:
    """Return the event loops from which the test has used the database."""
    worker = config.stash.get(WORKER, None)
    return worker.loops if worker is not None else []


def begin(test: pytest.Item) -> None:
    """Let the statements that follow belong to the test.

    Raises:
        pytest.UsageError: its marker's arguments are wrong.
    """
    choice = _choice(test)
    kind = ("commit" if _begins_above(test) else "rollback") if choice == "auto" else choice
    test.stash[ISOLATION] = kind
    test.stash[FAILED] = False  # an earlier attempt of the same test may have
    test.config.stash[TEST] = Running(test.nodeid, kind, may_move=choice == "auto")
    test.config.stash[TASKS].begin()
    worker = test.config.stash.get(WORKER, None)
    if worker is not None:
        worker.begin(test.nodeid, kind)
        _make_databases_of_tests(test, kind)


def follow(config: pytest.Config, following: pytest.Item | None) -> None:
    """Learn which test will run after the one that begins."""
    config.stash[NEXT] = following


def _make_databases_of_tests(test: pytest.Item, kind: _settings.IsolationName) -> None:
    """Make what this test is to have of its own, if a connection of ours cannot, and the next."""
    if kind == "database" and (
        test.get_closest_marker("db") is not None or "test_database_url" in _names(test)
    ):
        own = _application_of(test)
        if own is not None:
            own.isolation.part()
    following = test.config.stash.get(NEXT, None)
    if following is not None and _is_private(following):
        expected = _application_of(following)
        if expected is not None:
            expected.isolation.expect()


def _is_private(test: pytest.Item) -> bool:
    """Tell whether a test that has not begun is to have a database of its own."""
    return _asked(test) == "database"


def _asked(test: pytest.Item) -> object:
    """Return what a test's marker, which may be wrong, or the run asks for."""
    marker = test.get_closest_marker("db")
    default = settings(test.config).isolation
    return default if marker is None else marker.kwargs.get("isolation")


def _application_of(test: pytest.Item) -> Application | None:
    """Return the database to which a test's fixtures lead, if it has been made."""
    fixtures = getattr(test, "_fixtureinfo", None)
    definitions = fixtures.name2fixturedefs.get("_db_application") if fixtures else None
    result = definitions[-1].cached_result if definitions else None
    return result[0] if result is not None else None


def _names(test: pytest.Item) -> Sequence[str]:
    return getattr(test, "fixturenames", ())


def seal(config: pytest.Config) -> None:
    """Commit the data layers that a fixture has just written."""
    worker = config.stash.get(WORKER, None)
    if worker is not None:
        worker.seal()


def end(test: pytest.Item) -> None:
    """Undo the test; fail it for what rollback isolation could not do, unless it has failed."""
    stash = test.config.stash
    begun, stash[TEST] = stash[TEST], None
    worker = stash.get(WORKER, None)
    if worker is None:
        return
    names = _names(test)
    leaks, stash[LEAKS] = stash[LEAKS], []
    if worker.loops or "db_engine" in names:
        leaks += stash[TASKS].end(worker.users)
    for loop in worker.loops:
        if not loop.is_closed():
            stash[TASKS].share(loop)
    failed = test.stash.get(FAILED, False)
    remarks = worker.remarks()
    failures = worker.end(connects="test_database_url" in names, failed=failed)
    kept = worker.take_kept()
    summary(test.config).kept += kept
    test.stash[KEPT] = [text for _, text in kept]
    # Lines of the project are shown as pytest shows its tests.
    root = f"{test.config.rootpath}{os.sep}"
    leaks = [leak.replace(root, "") for leak in leaks + worker.take_leaks()]
    summary(test.config).leaks += [(test.nodeid, leak) for leak in leaks]
    if begun == Running(test.nodeid, "rollback", may_move=True):
        reason = _ladder.unfit([*failures, *worker.refusals], remarks, failed=failed)
        if reason is not None:
            test.stash[_ladder.REASON] = reason
            return
    if failed:
        return
    if failures:
        pytest.fail(str(failures[0]), pytrace=False)
    if leaks and settings(test.config).leaks == "error":
        lines = [f"db-testing: {test.nodeid} left behind", *leaks]
        pytest.fail("\n  ".join(lines), pytrace=False)


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
    config.stash[TASKS].share(loop)


def _end_loop(config: pytest.Config, loop: asyncio.AbstractEventLoop, *, asked: bool) -> None:
    """End what a test that asked for the database, or used it, has left on a loop of its own."""
    worker = config.stash.get(WORKER, None)
    if worker is not None and (asked or loop in worker.loops):
        config.stash[LEAKS] += end_tasks(loop, worker.users)


@contextlib.contextmanager
def others(config: pytest.Config) -> Iterator[None]:
    """Let what is done meanwhile be a wider fixture's, and not the test's."""
    worker = config.stash.get(WORKER, None)
    with contextlib.ExitStack() as stack:
        stack.enter_context(config.stash[TASKS].others())
        if worker is not None:
            stack.enter_context(worker.others())
        yield


def remark(test: pytest.Item, report: pytest.TestReport) -> None:
    """Add to a failure what it may owe to the isolation of the test."""
    worker = test.config.stash.get(WORKER, None)
    remarks = worker.remarks() if worker is not None else []
    report.sections += [("db-testing", remark) for remark in remarks]


def tell_isolation(test: pytest.Item, report: pytest.TestReport) -> None:
    """Say in a database test's report what undoes it, and whether its marker always says so."""
    isolation = test.stash.get(ISOLATION, None)
    setattr(report, _recorder.UNDONE_BY, isolation)
    if isolation is not None and test.get_closest_marker("db") is None:
        setattr(report, _outcomes.ISOLATION, isolation)


def compared(config: pytest.Config) -> list[str]:
    """Say how tests fare in the isolation that was asked for, beside others."""
    asked = config.getoption("db_isolation") is not None
    return config.stash[OUTCOMES].lines() if asked else []


def stop(session: pytest.Session, error: SetupError) -> NoReturn:
    """End the run with one error: without a database, every test would fail for the same reason."""
    what, why = "db-testing could not set the database up", f"db-testing: {error}"
    if hasattr(session.config, "workerinput"):
        # Each worker ends with an error of its own; why it does, xdist prints for the first only.
        what, why = why, f"{what}; the last lines of this report say why"
    session.shouldstop = what
    raise pytest.fail.Exception(why, pytrace=False) from None
