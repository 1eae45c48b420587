"""What the plugin keeps for the length of a run: settings, the worker, and its figures."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, NoReturn

import pytest

from . import _settings
from .report import Summary

if TYPE_CHECKING:
    import asyncio

    from ._worker import Application, Worker
    from .errors import SetupError
    from .schema import SchemaLike

SETTINGS: pytest.StashKey[_settings.Settings] = pytest.StashKey()
WORKER: pytest.StashKey[Worker] = pytest.StashKey()
SUMMARY: pytest.StashKey[Summary] = pytest.StashKey()
TEST: pytest.StashKey[tuple[str, _settings.IsolationName] | None] = pytest.StashKey()
"""The test that is running, while fixtures of its own exist, and what undoes it."""
FAILED: pytest.StashKey[bool] = pytest.StashKey()


def configure(config: pytest.Config) -> None:
    """Read the settings, which may be wrong, before anything else happens."""
    config.stash[SETTINGS] = _settings.read(config, run=uuid.uuid4().hex[:10])
    config.stash[SUMMARY] = Summary()


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

        worker = config.stash[WORKER] = Worker(settings(config))
        test = config.stash.get(TEST, None)
        if test is not None:
            worker.begin(*test)
    return worker.application(schema)


def close(config: pytest.Config) -> None:
    """Drop every database and give the server up."""
    worker = config.stash.get(WORKER, None)
    if worker is not None:
        del config.stash[WORKER]
        for used in worker.applications:
            summary(config).add(used.isolation.tests, used.isolation.seconds)
        worker.close()


def isolation(test: pytest.Item) -> _settings.IsolationName:
    """Return what undoes a test: its marker's choice, or the run's.

    Raises:
        pytest.UsageError: the marker's arguments are wrong.
    """
    marker = test.get_closest_marker("db")
    if marker is None:
        return settings(test.config).isolation
    chosen = marker.kwargs.get("isolation")
    if marker.args or marker.kwargs.keys() != {"isolation"} or chosen not in _settings.ISOLATIONS:
        raise pytest.UsageError(
            f"{test.nodeid}: the marker db takes isolation= and one of {_settings.ISOLATIONS}, "
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
    used = [application.isolation.loop for application in worker.applications] if worker else []
    return [loop for loop in used if loop is not None]


def begin(test: pytest.Item) -> None:
    """Let the statements that follow belong to the test."""
    kind = isolation(test)
    test.config.stash[TEST] = (test.nodeid, kind)
    worker = test.config.stash.get(WORKER, None)
    if worker is not None:
        worker.begin(test.nodeid, kind)


def end(test: pytest.Item) -> None:
    """Undo the test; fail it for what rollback isolation could not do, unless it has failed."""
    test.config.stash[TEST] = None
    worker = test.config.stash.get(WORKER, None)
    failures = worker.end() if worker is not None else []
    if failures and not test.stash.get(FAILED, False):
        pytest.fail(str(failures[0]), pytrace=False)


def stop(session: pytest.Session, error: SetupError) -> NoReturn:
    """End the run with one error: without a database, every test would fail for the same reason."""
    what, why = "db-testing could not set the database up", f"db-testing: {error}"
    if hasattr(session.config, "workerinput"):
        # Each worker ends with an error of its own; why it does, xdist prints for the first only.
        what, why = why, f"{what}; the last lines of this report say why"
    session.shouldstop = what
    raise pytest.fail.Exception(why, pytrace=False) from None
