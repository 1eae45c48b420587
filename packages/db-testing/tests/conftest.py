"""What the tests of db-testing share: a small schema, tested with db-testing itself."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import signal
import sys
from typing import IO, TYPE_CHECKING, Any, ClassVar, LiteralString

import pytest
from hypothesis import settings
from sqlalchemy import ForeignKey, Identity, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db_testing import Schema, _settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fork_server import WITH_PLUGINS, Forked, ForkServer  # for mypy this is in no package
else:
    from .fork_server import WITH_PLUGINS, ForkServer


# A shell lets what it runs in the background ignore these, and so do all its children; but
# processes of these tests are to be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

settings.register_profile("night", max_examples=2000)

SERVER = _settings.OWN_SERVER.fullmatch(os.environ.get(_settings.ENVIRONMENT_SERVER, ""))
MAJOR = int(SERVER[2]) if SERVER is not None and SERVER[2] else None
"""The major version of PostgreSQL that the tests were told to run on."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of what an older PostgreSQL has not."""
    config.addinivalue_line("markers", "since(major): PostgreSQL has it since that major version")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the server does not have."""
    late = [
        item
        for item in items
        if MAJOR and (mark := item.get_closest_marker("since")) and mark.args[0] > MAJOR
    ]
    if late:
        config.hook.pytest_deselected(items=late)
        items[:] = [item for item in items if item not in late]


LEFT = """
    SELECT (SELECT json_agg(a ORDER BY id)::text FROM author a) AS authors,
           (SELECT json_agg(b ORDER BY id)::text FROM book b) AS books,
           (SELECT json_agg(json_build_array(relname, relkind, relacl) ORDER BY oid)::text
            FROM pg_class WHERE relnamespace = 'public'::regnamespace) AS relations,
           (SELECT row(last_value, is_called)::text FROM author_id_seq) AS author_ids,
           (SELECT row(last_value, is_called)::text FROM book_id_seq) AS book_ids,
           (SELECT count(*) FROM pg_locks l JOIN pg_stat_activity s USING (pid)
            WHERE s.datname = current_database() AND s.pid <> pg_backend_pid()
              AND s.backend_type = 'client backend'  -- not autovacuum's
              AND l.locktype IN ('advisory', 'relation')) AS locks
"""

MEASUREMENT = {
    name: os.environ[name]
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
    if name in os.environ
}
"""What has each process measured, if this one is."""

LEAN = " ".join(
    f"-p no:{plugin}"
    for plugin in ("anyio", "faker", "hypothesispytest", "pytest_alembic", "randomly")
)
"""Options of runs inside tests, without plugins of which each process takes a second to import."""

SLEEPERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'PgSleep'
"""


class Base(DeclarativeBase):
    """Tables of the tests."""

    metadata = MetaData()
    type_annotation_map: ClassVar = {dict[str, Any]: JSONB}


class Author(Base):
    """A table with a sequence, a unique constraint and a deferrable one."""

    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    editor_id: Mapped[int | None] = mapped_column(
        ForeignKey("author.id", deferrable=True, initially="DEFERRED")
    )


class Book(Base):
    """A table with an identity column."""

    __tablename__ = "book"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    title: Mapped[str]


def pytest_collection_finish() -> None:
    """Leave what is there before the first test out of each later search for garbage.

    Each run of pytest inside a test ends with two such searches through all of this process: half
    of what the run costs.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Return the tables above."""
    return Schema.from_metadata(Base.metadata)


@pytest.fixture(autouse=True)
def _at_a_terminal() -> Iterator[None]:
    """Run suites as a person does: in CI, pytest repeats each message in its last lines.

    And in the order that they are written in, unless a test asks for `-p randomly`; and without
    anyio's plugin, which imports all of trio, unless it asks for `-p anyio`. Nor are their
    processes measured, which doubles what each costs, unless a test asks for `measured`.
    """
    # Not the fixture `monkeypatch`, which would then outlive those that tests patch things under.
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("CI", "BUILD_NUMBER", *MEASUREMENT):
            patch.delenv(variable, raising=False)
        patch.setenv("PYTEST_ADDOPTS", LEAN)
        patch.setattr(importlib.metadata, "distributions", lambda: iter(WITH_PLUGINS))
        yield


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the processes of a test too: for modules that run in processes of their own only."""
    for name, value in MEASUREMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Start what starts processes that run pytest, in a quarter of the time."""
    with ForkServer() as server:
        yield server


@pytest.fixture
def pytester(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> pytest.Pytester:
    """Return pytest's own, which has forgotten the options of runs inside tests.

    Processes that it runs pytest in are forked, but for those of tests that ask for `afresh`.
    """

    def fork(
        command: tuple[str, ...], stdout: IO[str], stderr: IO[str], **others: object
    ) -> Forked:
        del others  # the input, and what versions of pytest say besides
        server: ForkServer = request.getfixturevalue("fork_server")
        assert command[:2] == (sys.executable, "-mpytest"), command
        return server.run_pytest(command[2:], stdout, stderr)

    monkeypatch.setenv("PYTEST_ADDOPTS", LEAN)
    if "afresh" not in request.fixturenames:
        monkeypatch.setattr(pytester, "popen", fork)
    return pytester


@pytest.fixture
def afresh() -> None:
    """Start processes that run pytest as a person does, not forked: what they import is new."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of faults, if their tests were among those that ran."""
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in getattr(report, "user_properties", [])
        if name == "fault" and report.when == "call"
    ]
    if rows:
        terminalreporter.section("faults: what was hit, what it left, what the next run did")
        for fault, first, left, after in sorted(rows):
            terminalreporter.write_line(f"{fault:<28} {first:<32} {left:<14} {after}")


@pytest.fixture
def left_sql() -> LiteralString:
    """Return the query for what a test has left in the database, and for who has locked it."""
    return LEFT


@pytest.fixture
def sleepers_sql() -> LiteralString:
    """Return the query for the number of statements in `pg_sleep`."""
    return SLEEPERS
