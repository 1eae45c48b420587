"""A worker makes databases on first use, and leaves none."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from db_testing import _settings
from db_testing._plugin._worker import Worker
from db_testing._server import _server
from db_testing._template import _removal
from db_testing.errors import ServerError
from db_testing.schema import Schema

if TYPE_CHECKING:
    from .conftest import Embedded


def schema(table: str) -> Schema:
    """Return a schema of one table."""
    metadata = MetaData()
    Table(table, metadata, Column("id", Integer, primary_key=True))
    return Schema.from_metadata(metadata)


def settings(embedded: Embedded, run: str = "r") -> _settings.Settings:
    """Return a run's settings, for the cluster."""
    url = _server.address(embedded.cluster).render_as_string()
    return _settings.Settings(
        server=url,
        isolation="rollback",
        schema=None,
        session_options=None,
        bind=(),
        leaks="report",
        project="p",
        run=run,
        worker="main",
    )


OURS = "SELECT count(*) FROM pg_database WHERE datname ~ '^dbt_p_'"


def test_every_schema_has_a_database_until_the_end(embedded: Embedded) -> None:
    """Two applications in one run never share a database; the same schema is one application."""
    embedded.acquire()
    worker = Worker(settings(embedded))
    one, two = worker.application(schema("one")), worker.application(schema("two"))
    assert worker.application(schema("one")) is one
    assert one.database != two.database
    assert worker.applications == [one, two]
    assert embedded.query(OURS) == 2
    worker.close()
    assert embedded.query(OURS) == 0


def test_worker_that_made_nothing_has_nothing_to_close(embedded: Embedded) -> None:
    """A run without database tests neither starts a server nor connects to one."""
    Worker(settings(embedded)).close()
    assert not embedded.cluster.data.joinpath("postmaster.pid").exists()


def test_worker_leaves_once(embedded: Embedded) -> None:
    """A run may say twice that it ends; the server is told to drop the databases once."""
    embedded.acquire()
    worker = Worker(settings(embedded))
    worker.application(schema("one"))
    worker.leave()
    begun = worker._dropping
    assert begun is not None
    begun.result()
    worker.leave()
    assert worker._dropping is begun
    assert worker.applications == []
    worker.close()
    assert embedded.query(OURS) == 0


def test_end_of_a_run_whose_server_died_is_no_error(embedded: Embedded) -> None:
    """The tests have failed already; what is left of the databases is reaped by the next run."""
    embedded.acquire()
    worker = Worker(settings(embedded))
    worker.application(schema("one"))
    os.kill(embedded.postmaster, signal.SIGKILL)
    embedded.wait_until_stopped()
    worker.close()
    embedded.acquire()
    assert embedded.query(OURS) == 1
    following = Worker(settings(embedded, run="following"))
    following.application(schema("one"))
    assert embedded.query(OURS) == 1
    following.close()
    assert embedded.query(OURS) == 0


def test_server_that_lets_nobody_in_is_given_up(embedded: Embedded) -> None:
    """A worker that got no connection closes like any other."""
    worker = Worker(settings(embedded))
    with pytest.raises(ServerError, match="cannot connect to"):
        worker.application(schema("one"))
    worker.close()


@pytest.mark.parametrize("lost", ["both renames", "the second"])
def test_renames_that_a_crash_has_undone(embedded: Embedded, lost: str) -> None:
    """A crashed machine need not know of the last: the worker has a database all the same."""
    embedded.acquire()
    worker = Worker(settings(embedded))
    database = worker.application(schema("one")).database
    admin = worker._connect()
    own = f"{database.name}own"
    database.part(None)
    admin.run(_removal.drop, admin, database.name)
    if lost == "both renames":
        admin.run(_removal.reinstate, admin, own, database.name)
    assert database.rejoin(None) is (lost == "the second")
    assert embedded.query(f"SELECT count(*) FROM pg_database WHERE datname = '{database.name}'")
    database.part(None)
    assert database.rejoin(None)
    worker.close()
    assert embedded.query(OURS) == 0
