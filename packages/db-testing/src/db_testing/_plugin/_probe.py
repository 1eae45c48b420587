"""A plugin for a run of pytest that runs no test: it says what pytest has found.

`db-testing doctor`, `template build` and `bench` ask a process of the project's own pytest, so that
they see what its tests will see: its plugins, settings, fixtures and `db_schema`. What they want
done with each schema is done there as well, where its tests would run. Each line that is written
to the pipe is a JSON object; the last one says that all is done, unless something has ended pytest.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
from _pytest.runner import runtestprotocol

from ..schema import SchemaLike
from . import _attempt, _fixtures, _loops, _state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .._settings import Settings

    Say: TypeAlias = Callable[[Mapping[str, object]], None]
    Work: TypeAlias = Callable[["Subject", Say], Mapping[str, object]]

PIPE: Final = "--db-probe"
WORK: Final = "--db-probe-work"
ARGUMENT: Final = "--db-probe-argument"
CHOSEN: Final = "--db-probe-chosen"
PLUGIN: Final = "db_testing"
SHOWN: Final = 5
"""How many errors of collection are passed on."""

OURS: Final = (
    "db",
    "db_asyncpg",
    "db_bind",
    "db_connection",
    "db_engine",
    "db_layer",
    "db_schema",
    "db_session_options",
    "db_sessionmaker",
    "db_sync",
    "db_sync_engine",
    "test_database_url",
)
MEANT_FOR_IT: Final = ("db_bind", "db_schema", "db_session_options")
"""Those of ours that applications define themselves."""

NOWHERE: Final = "no db_schema"
"""Stands for the place of a schema where nothing defines one."""

LOOP: Final = "event_loop"
"""The fixture that pytest-asyncio had until version 1."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register where to write, and what to do with each schema."""
    parser.addoption(PIPE, type=int, required=True)
    parser.addoption(WORK)
    parser.addoption(ARGUMENT, default="")
    parser.addoption(CHOSEN, action="store_true", help="the environment names the server")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Measure no coverage, which would overwrite what was measured before."""
    if hasattr(early_config.known_args_namespace, "cov_source"):
        early_config.known_args_namespace.cov_source = []


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start no process of xdist's, and write no report: no test will run. Outlive no command."""
    if hasattr(config.option, "tx"):
        config.option.dist, config.option.tx, config.option.numprocesses = "no", [], None
    config.option.db_report = None
    if config.getoption(CHOSEN):  # by the command, which goes before what pytest is always given
        config.option.db_server = None
    watch = threading.Thread(target=_watch, args=[config.getoption(PIPE)], daemon=True)
    watch.start()
    config.stash[COLLECTION] = Collection()
    config.pluginmanager.register(config.stash[COLLECTION])


def _watch(pipe: int) -> None:
    """Interrupt this process when nobody reads any more what it says."""
    end = select.poll()
    end.register(pipe, select.POLLERR)
    end.poll()
    os.kill(os.getpid(), signal.SIGINT)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Say what was collected, and do what is asked for, instead of running tests."""
    with os.fdopen(session.config.getoption(PIPE), "w") as pipe:

        def say(line: Mapping[str, object]) -> None:
            pipe.write(json.dumps(line) + "\n")
            pipe.flush()

        found = facts(session)
        say({"facts": found})
        work = session.config.getoption(WORK)
        if work is not None and found["loaded"]:
            module, _, name = work.partition(":")
            function: Work = getattr(importlib.import_module(module), name)
            for item, where in _schemas(session):
                _do(function, item, where, say)
        say({"done": True})
    return True


@dataclass(frozen=True, slots=True)
class Subject:
    """A schema, and where its tests are."""

    schema: SchemaLike
    item: pytest.Item
    """A test that gets it."""
    argument: str
    """What the command hands on."""

    @property
    def settings(self) -> Settings:
        """The run's settings."""
        return _state.settings(self.item.config)


def facts(session: pytest.Session) -> dict[str, object]:
    """Return what pytest has found."""
    config = session.config
    loaded = config.pluginmanager.hasplugin(PLUGIN)
    distributions = config.pluginmanager.list_plugin_distinfo()
    return {
        "root": str(config.rootpath),
        "file": None if config.inipath is None else str(config.inipath),
        "loaded": loaded,
        "loops_are_ours": loaded and _loops.loops_are_ours(config),
        "plugins": {
            distribution.project_name: distribution.version for _, distribution in distributions
        },
        "settings": {name: _setting(config, name) for name in SETTINGS},
        "tests": len(session.items),
        "database_tests": (
            sum(_loops.uses_database(item) for item in session.items) if loaded else 0
        ),
        "schemas": [
            {"where": where, "tests": number} for where, number in _counted(session).items()
        ],
        "clashes": [
            {"fixture": name, "where": where, "plugin": is_plugin}
            for name in (*OURS, LOOP)
            for where, is_plugin in _elsewhere(session, name)
            if is_plugin or name not in MEANT_FOR_IT
        ],
        "errors": config.stash[COLLECTION].errors[:SHOWN],
    }


SETTINGS: Final = (
    "asyncio_mode",
    _loops.TEST_SCOPE,
    _loops.FIXTURE_SCOPE,
    "anyio_mode",
    "trio_mode",
    "db_bind",
    "db_isolation",
    "db_schema",
    "db_server",
)


class Collection:
    """What could not be collected."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.errors: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note an error."""
        if report.failed:
            self.errors.append(report.longreprtext)


COLLECTION: Final = pytest.StashKey[Collection]()


def _setting(config: pytest.Config, name: str) -> object:
    try:
        value = config.getini(name)
    except (ValueError, KeyError):
        return None  # of a plugin that is not there
    return list(value) if isinstance(value, list) else value and str(value)


def _elsewhere(session: pytest.Session, name: str) -> Iterator[tuple[str, bool]]:
    """Find definitions of a fixture that are not ours, and whether a plugin's."""
    nodes = [session, *{item.path: item for item in session.items}.values()]
    functions = {
        definition.func: None
        for node in nodes
        for definition in session._fixturemanager.getfixturedefs(name, node) or ()  # noqa: SLF001
    }
    for function in functions:
        if not function.__module__.startswith(("db_testing.", "pytest_asyncio.")):
            yield _place(function), "site-packages" in function.__code__.co_filename


def _place(function: Any) -> str:
    code = function.__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def _counted(session: pytest.Session) -> Counter[str]:
    """Count the database tests of each definition of `db_schema`."""
    if not session.config.pluginmanager.hasplugin(PLUGIN):
        return Counter()
    return Counter(_schema_of(item) for item in session.items if _loops.uses_database(item))


def _schemas(session: pytest.Session) -> list[tuple[pytest.Item, str]]:
    """Return a test for each definition of `db_schema`, and where that stands.

    Where no test asks for the database yet, that which the first test would get is taken.
    """
    items = [item for item in session.items if _loops.uses_database(item)]
    by_place = {_schema_of(item): item for item in items or session.items[:1]}
    return [(item, where) for where, item in by_place.items()]


def _schema_of(item: pytest.Item) -> str:
    """Say where the schema of a test is defined."""
    definitions = item.session._fixturemanager.getfixturedefs("db_schema", item)  # noqa: SLF001
    function = (definitions or [])[-1].func
    if function.__module__ == _fixtures.__name__:
        dotted = _state.settings(item.config).schema
        return NOWHERE if dotted is None else f"db_schema = {dotted!r}"
    return _place(function)


def _do(function: Work, item: pytest.Item, where: str, say: Say) -> None:
    """Do something with the schema that a test would get, while fixtures of its module live."""
    schemas: list[SchemaLike] = []

    def get(db_schema: object) -> None:
        assert isinstance(db_schema, SchemaLike)  # noqa: S101  # pytest shows it
        schemas.append(db_schema)

    last = test_beside(item, lambda: None)
    failure = run_test(test_beside(item, get, "db_schema"), last)
    if failure is None:
        subject = Subject(schemas[0], item, item.config.getoption(ARGUMENT))
        done = pytest.CallInfo.from_call(
            lambda: say({"result": function(subject, say), "schema": where}),
            when="call",
            reraise=(KeyboardInterrupt, BrokenPipeError),
        )
        failure = done.excinfo.exconly() if done.excinfo is not None else None
    run_test(last, None)
    if failure is not None:
        say({"failure": failure, "schema": where})


def test_beside(
    item: pytest.Item, function: Callable[..., None], *fixtures: str
) -> pytest.Function:
    """Return a test of the same module that has only some fixtures.

    The application's automatic ones may need what is not there.
    """
    module = item.getparent(pytest.Module)
    test = pytest.Function.from_parent(module, name="db_testing", callobj=function)
    test.fixturenames[:] = fixtures
    return test


def run_test(test: pytest.Item, following: pytest.Item | None) -> str | None:
    """Run a test as pytest does, and return why it failed, if it has."""
    _attempt.follow(test.config, following)
    for report in runtestprotocol(test, log=False, nextitem=following):
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            return str(getattr(crash, "message", report.longreprtext))
    return None
