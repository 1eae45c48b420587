"""pytest's hooks: wiring only."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from . import _settings
from ._plugin import (
    _anyio,
    _attempt,
    _fixtures,
    _lifetime,
    _loops,
    _measurement,
    _recorder,
    _schemas,
    _state,
)
from ._plugin._fixtures import (  # noqa: F401  # pytest finds fixtures among the plugin's names
    _db_loop,
    db,
    db_asyncpg,
    db_bind,
    db_connection,
    db_schema,
    db_session_options,
    db_sync,
)
from ._server import _server
from .errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

WORKER_FIGURES = "db_testing_figures"
WORKER_LEAKS = "db_testing_leaks"
WORKER_REPLACED = "db_testing_replaced"
WORKER_STAYING = "db_testing_staying"
WORKER_KEPT = "db_testing_kept"
MOVED = "db_testing_commit"
"""The attribute of the reports of tests that were moved to commit isolation."""
WORKER_MOVED = "db_testing_moved"

ON_NO_LOOP: Final = contextlib.nullcontext()
"""One for the synchronous fixtures of all tests."""

_db_application = pytest.fixture(scope="session")(_fixtures._db_application)  # noqa: SLF001
_db_bound = pytest.fixture(scope="session", autouse=True)(_fixtures._db_bound)  # noqa: SLF001
test_database_url = pytest.fixture(scope="session")(_fixtures.test_database_url)
db_engine = pytest.fixture(scope="session")(_fixtures.db_engine)
db_sessionmaker = pytest.fixture(scope="session")(_fixtures.db_sessionmaker)
db_layer = pytest.fixture(scope="session")(_fixtures.db_layer)
db_sync_engine = pytest.fixture(scope="session")(_fixtures.db_sync_engine)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options."""
    _settings.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings."""
    config.addinivalue_line(
        "markers",
        'db(isolation="rollback" | "commit" | "database" | "auto"): choose what undoes a test.',
    )
    _state.configure(config)
    _measurement.register(config)


def pytest_report_header(config: pytest.Config) -> str:
    """Name the server, its version and the isolation."""
    try:
        server = _server.describe(_state.settings(config).server)
    except SetupError as error:
        return f"db-testing: no server ({error})"
    return f"db-testing: {server}, {_state.settings(config).isolation} isolation"


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector) -> None:
    """Give each definition of `db_schema` its own session fixtures, before tests ask for them."""
    _schemas.register(collector)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put database tests on the session's event loop; bind nothing where nothing is bound."""
    _fixtures.spare_fixtures(item)
    if _loops.is_database_test(item):
        _loops.share_session_loop(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Know which test comes next, and run this one again if its isolation cannot serve it."""
    if _loops.asks_for_database(item):
        _state.start_ahead(item.config)
    _attempt.follow(item.config, nextitem)
    return _attempt.run(item, nextitem) or None


@pytest.hookimpl(wrapper=True, trylast=True)  # others have begun what they end in any case
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Begin each test with nothing of the fixtures that ended after the last one."""
    _state.settle(item.config)
    yield
    _lifetime.fixtures_are_there(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Know that only fixtures are left to end."""
    _state.body_is_over(item.config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Put a database test's asynchronous fixtures on the same loop; tell whose their work is."""
    of_test = fixturedef.scope == "function"
    _fixtures.REQUESTS.append(request)
    try:
        if of_test:
            _lifetime.begin(request.node)
        on_loop = (
            _loops.fixture_on_session_loop(fixturedef, request)
            if _loops.is_asynchronous(fixturedef.func)
            else ON_NO_LOOP
        )
        with on_loop:
            value = (yield) if of_test else (yield from _set_up_wider(fixturedef, request))
    except Exception as error:
        if fixturedef.cached_result is None:  # it is not the fixture's own
            _let_fail(fixturedef, request, error)
        raise
    finally:
        _fixtures.REQUESTS.pop()
    _state.has_loop(fixturedef, request, value)
    return value


def _set_up_wider(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    with _state.others(request.config):
        value = yield
        _seal(fixturedef, request)
    return value


def _seal(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """Commit the data layer that a fixture has written, or let it fail for all its tests."""
    try:
        _state.seal(request.config)
    except Exception as error:
        # Whatever a commit raises.
        _let_fail(fixturedef, request, error)
        raise


def _let_fail(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest, error: Exception
) -> None:
    """Let a fixture have failed; pytest finishes none that has neither a value nor an error."""
    key = fixturedef.cache_key(request)  # type: ignore[arg-type]  # it is a SubRequest
    fixturedef.cached_result = (None, key, (error, error.__traceback__))


def pytest_fixture_post_finalizer(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> None:
    """Let what a wider fixture did at its end be nobody's."""
    if fixturedef.scope != "function":
        with _state.others(request.config):
            pass


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note a failure, so that it is not reported a second time when the test is undone."""
    report = yield
    if (report.when == "call" or report.outcome != "passed") and _loops.uses_database(item):
        _attempt.tell_isolation(item, report)
        if item.nodeid in _state.ladder(item.config).moved:
            setattr(report, MOVED, True)
    if report.outcome == "failed":
        _attempt.remark(item, report)
        _attempt.failed(item)
    if report.when == "teardown" and (kept := _attempt.kept(item)):
        # pytest shows sections of a teardown with the failure, also those of another process.
        report.sections += [("db-testing teardown", f"database {text}") for text in kept]
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Say of a test that it was moved."""
    moved = getattr(report, MOVED, False) and not hasattr(report, "wasxfail")
    if moved and report.when == "call" and report.passed:
        return "passed", ".", "PASSED (commit isolation)"
    return None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Leave nothing behind, and hand the figures to the process that prints them."""
    _state.close(session.config)
    _anyio.release(session.config)
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        figures = _state.summary(session.config)
        output[WORKER_FIGURES] = (figures.tests, figures.seconds)
        output[WORKER_LEAKS] = figures.leaks
        output[WORKER_REPLACED] = dict(figures.replaced)
        output[WORKER_STAYING] = sorted(figures.staying)
        output[WORKER_KEPT] = figures.kept
        output[WORKER_MOVED] = _state.ladder(session.config).found
    else:
        _state.ladder(session.config).write(session.config)
        _state.write_outcomes(session.config)
        explain = _state.settings(session.config).explain
        if explain == "apply" and not _state.mark(session.config) and not exitstatus:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        moved = _state.ladder(session.config).moved
        written = _recorder.write(
            session.config, exitstatus, summary=_state.summary(session.config), moved=moved
        )
        if not written and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let an xdist worker use the same server, on whatever machine it runs."""
    node.workerinput[_settings.WORKER_SERVER] = _state.settings(node.config).server


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add an xdist worker's figures."""
    output = getattr(node, "workeroutput", {})
    figures = output.get(WORKER_FIGURES)
    if figures is not None:
        summary = _state.summary(node.config)
        summary.add(*figures)
        summary.leaks += [(test, what) for test, what in output.get(WORKER_LEAKS, ())]
        summary.replaced.update(output.get(WORKER_REPLACED, {}))
        summary.staying.update(output.get(WORKER_STAYING, ()))
        summary.kept += [(test, what) for test, what in output.get(WORKER_KEPT, ())]
        _state.ladder(node.config).learn(output.get(WORKER_MOVED, ({}, ())))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the one line, and what tests have left behind."""
    _tell(terminalreporter, "left behind by tests", _state.summary(config).leak_lines())
    for said in _state.summary(config).unswept_lines():
        terminalreporter.write_line(said)
    _tell(terminalreporter, "databases of failed tests", _state.summary(config).kept_lines())
    explain = _state.settings(config).explain
    for moved in _state.ladder(config).lines(explain=explain is not None):
        terminalreporter.write_line(moved)
    for marked in _state.marked(config):
        terminalreporter.write_line(marked)
    for compared in _state.compared(config):
        terminalreporter.write_line(compared)
    line = _state.summary(config).line()
    _tell(terminalreporter, "db-testing report", _recorder.lines(config))
    if line is not None:
        terminalreporter.write_line(line)


def _tell(terminalreporter: pytest.TerminalReporter, title: str, lines: Sequence[str]) -> None:
    """Print lines under a title, if there are any."""
    if lines:
        terminalreporter.section(title)
    for line in lines:
        terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind, also when the session never finished."""
    if _state.RUN in config.stash:
        _state.close(config)
    _anyio.release(config)
