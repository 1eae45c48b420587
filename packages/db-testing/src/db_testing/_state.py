"""What the plugin keeps for the length of a run: settings, the worker, and its figures."""

from __future__ import annotations

import uuid
from typing import NoReturn

import pytest

from . import _settings
from ._worker import Worker
from .errors import SetupError
from .report import Summary

SETTINGS: pytest.StashKey[_settings.Settings] = pytest.StashKey()
WORKER: pytest.StashKey[Worker] = pytest.StashKey()
SUMMARY: pytest.StashKey[Summary] = pytest.StashKey()
FAILED: pytest.StashKey[bool] = pytest.StashKey()


def configure(config: pytest.Config) -> None:
    """Read the settings, which may be wrong, before anything else happens."""
    config.stash[SETTINGS] = _settings.read(config, run=uuid.uuid4().hex[:10])
    config.stash[SUMMARY] = Summary()
    config.stash[WORKER] = Worker(config.stash[SETTINGS])


def settings(config: pytest.Config) -> _settings.Settings:
    """Return the run's settings."""
    return config.stash[SETTINGS]


def summary(config: pytest.Config) -> Summary:
    """Return the run's figures."""
    return config.stash[SUMMARY]


def worker(config: pytest.Config) -> Worker:
    """Return this process's worker."""
    return config.stash[WORKER]


def close(config: pytest.Config) -> None:
    """Drop every database and give the server up."""
    for application in worker(config).applications:
        summary(config).add(application.isolation.tests, application.isolation.seconds)
    worker(config).close()


def begin(test: pytest.Item) -> None:
    """Let the statements that follow belong to the test."""
    worker(test.config).begin(test.nodeid)


def end(test: pytest.Item) -> None:
    """Undo the test; fail it for what rollback isolation could not do, unless it has failed."""
    failures = worker(test.config).end()
    if failures and not test.stash.get(FAILED, False):
        pytest.fail(str(failures[0]), pytrace=False)


def stop(session: pytest.Session, error: SetupError) -> NoReturn:
    """End the run with one error: without a database, every test would fail for the same reason."""
    session.shouldstop = "db-testing could not set the database up"
    pytest.fail(f"db-testing: {error}", pytrace=False)
