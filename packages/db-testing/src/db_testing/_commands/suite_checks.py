"""Whether the project's pytest runs as tests of a database need it: plugins, loops, fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from packaging.utils import canonicalize_name

from .._plugin import _loops, _probe
from ..errors import SuiteError
from . import building, suite
from .findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .choice import Choice

OTHERS: Final = {
    "pytest-sqla": (
        "its engines and transactions are its own: a test that uses both has two databases",
        "Let each test use the fixtures of one of them; -p no:sqla turns that one off.",
    ),
    "pytest-postgresql": (
        "its fixtures start a server of their own and lead there",
        "Where no test asks for them, remove it.",
    ),
    "pytest-async-sqlalchemy": (
        "its fixtures db_session and transaction lead to the database of its database_url",
        "Replace db_session by db, and remove it.",
    ),
    "pytest-sqlalchemy": (
        "it defines a fixture db_schema and an engine of its own",
        "Remove it; db_schema is db-testing's as well.",
    ),
    "pytest-flask-sqlalchemy": (
        "its db_session holds a transaction of its own, which db-testing does not undo",
        "Replace db_session by db_sync, and remove it.",
    ),
}
"""Plugins whose fixtures lead past db-testing's database, what they do, and what to do."""


ALEMBIC_OFF: Final = 'addopts = "-p no:pytest_alembic"'
"""What MigrationTests do not need, and pytest 9.2 does not bear."""


def check(
    choice: Choice, arguments: Sequence[str], progress: Callable[[str], None]
) -> Iterator[Finding]:
    """Ask the project's pytest, and let it build the schemas."""
    try:
        answer = suite.ask(arguments, work=building.CHECK, server=choice.server, progress=progress)
    except SuiteError as error:
        yield Finding("pytest", "error", str(error), "As it says; then run doctor again.")
        return
    facts = answer.facts
    tests, of_database = facts["tests"], facts["database_tests"]
    file = facts["file"] or "no file configures it"
    yield Finding("pytest", "ok", f"{tests} tests, {of_database} of the database; {file}")
    yield from collection(facts)
    if not facts["loaded"]:
        yield Finding(
            "plugins",
            "error",
            "pytest does not load db-testing's plugin",
            "Remove -p no:db_testing, or, where plugins are not loaded by themselves "
            "(PYTEST_DISABLE_PLUGIN_AUTOLOAD), add -p db_testing.plugin.",
        )
        return
    yield from _plugins(facts)
    yield _event_loop(facts)
    yield from _fixtures(facts)
    yield from _schemas(facts, answer)


def collection(facts: Mapping[str, Any]) -> Iterator[Finding]:
    for error in facts["errors"]:
        if "pytest_alembic" in error and "no attribute '_nodeid'" in error:
            yield Finding(
                "plugins",
                "error",
                "pytest-alembic's plugin fails on this pytest where there is a tests/conftest.py, "
                "and then no test is collected",
                f"Turn it off: {ALEMBIC_OFF} in pytest's configuration. MigrationTests need not "
                f"the plugin.",
            )
            continue
        yield Finding(
            "pytest",
            "error",
            f"tests cannot be collected:\n{error}",
            "Mend it; pytest --collect-only shows the same.",
        )


def _plugins(facts: Mapping[str, Any]) -> Iterator[Finding]:
    there = {canonicalize_name(name): version for name, version in facts["plugins"].items()}
    shown = ", ".join(f"{name} {version}" for name, version in sorted(there.items()))
    yield Finding("plugins", "ok", shown)
    for name, (what, remedy) in OTHERS.items():
        if name in there:
            yield Finding("plugins", "warning", f"{name}: {what}", remedy)
    if facts["settings"]["trio_mode"] == "True":
        yield Finding(
            "plugins",
            "error",
            "trio_mode of pytest-trio is on: every asynchronous test runs on Trio, and asyncpg "
            "needs asyncio",
            "Set trio_mode = false, and mark the tests that need Trio with pytest.mark.trio.",
        )


def _event_loop(facts: Mapping[str, Any]) -> Finding:
    settings = facts["settings"]
    if facts["loops_are_ours"]:
        found = "database tests share the session's loop, since nothing chooses another"
        return Finding("event loop", "ok", f"{_runner(settings)}; {found}")
    if settings["asyncio_mode"] is None:
        return Finding("event loop", "ok", _runner(settings))
    choosing = [name for name, ours in _loops.DEFAULTS.items() if settings[name] not in ours]
    chosen = " and ".join(f"{name} = {settings[name]}" for name in choosing)
    return Finding(
        "event loop",
        "note",
        f"{_runner(settings)}; loops are chosen by the project ({chosen}): each loop that a test "
        f"gets to itself pays for a connection",
        f'Set {" and ".join(choosing)} to "session".',
    )


def _runner(settings: Mapping[str, Any]) -> str:
    mode = settings["asyncio_mode"]
    return "no pytest-asyncio" if mode is None else f"pytest-asyncio, {mode} mode"


def _fixtures(facts: Mapping[str, Any]) -> Iterator[Finding]:
    for clash in facts["clashes"]:
        name, where = clash["fixture"], clash["where"]
        if name == _probe.LOOP:
            yield Finding(
                "fixtures",
                "warning",
                f"{where} defines event_loop, which pytest-asyncio 1 does not ask for",
                "Remove it: database tests share the session's loop by themselves.",
            )
        elif clash["plugin"]:
            yield Finding(
                "fixtures",
                "warning",
                f"another plugin defines {name} as well ({where}); which of them a test gets "
                f"depends on the order in which they are loaded",
                "Turn that plugin off for these tests: -p no:<its name>, or remove it.",
            )
        else:
            yield Finding(
                "fixtures",
                "warning",
                f"{where} defines {name}: tests below it get that one, not db-testing's",
                "Remove it, or give it another name and let it use db-testing's.",
            )


def _schemas(facts: Mapping[str, Any], answer: suite.Answer) -> Iterator[Finding]:
    for where, result in answer.results.items():
        tests = next((each["tests"] for each in facts["schemas"] if each["where"] == where), 0)
        did = f"built in {result['seconds']:.2f} s" if result["built"] else "its template is there"
        yield Finding("schema", "ok", f"{result['schema']} ({where}), {tests} tests: {did}")
        if result["is_empty"]:
            yield Finding(
                "schema",
                "warning",
                f"{result['schema']} ({where}) has no table: nothing has imported the models when "
                f"it is built",
                "Import their modules where db_schema is defined, or name the metadata that they "
                "fill.",
            )
        if result["fixtures"] is not None:
            yield Finding(
                "fixtures",
                "error",
                f"{where}: {result['fixtures']}",
                "As it says; then run doctor again.",
            )
    undefined = not facts["database_tests"]
    for where, why in answer.failures.items():
        if undefined and where == _probe.NOWHERE:
            continue
        yield Finding("schema", "error", f"{where}: {why}", "As it says; then run doctor again.")
    if undefined:
        yield Finding(
            "schema",
            "note",
            "no test asks for the database yet",
            "db-testing init writes the configuration; then tests ask for db or db_engine.",
        )
