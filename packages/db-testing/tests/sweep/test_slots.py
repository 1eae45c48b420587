"""Replication slots: some belong to one database, and are in the way of its end; others do not.

On a server that decodes its log, as the embedded one does not.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from db_testing._server._binaries import Binaries
from db_testing._server._identity import Identity
from db_testing._template import _removal

from .conftest import BOUND, empty_database, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import URL

    from .conftest import Database

MAKE = "SELECT pg_create_logical_replication_slot('of_a_test', 'pgoutput')"
ACTIVE = "SELECT array_agg(active) FROM pg_replication_slots"


@pytest.fixture(scope="module")
def decoding_server() -> Iterator[URL]:
    """Run a server that decodes its log."""
    with running(wal_level="logical", max_wal_senders="2") as url:
        yield url


@pytest.fixture
def decoding(decoding_server: URL) -> Iterator[Database]:
    """Return an empty database of it."""
    with empty_database(decoding_server, "postgres") as database:
        yield database


def asked(database: Database, query: str) -> object:
    """Ask from outside of the database."""
    return database.admin.run(database.admin.connection.fetchval, query)


def test_slot_of_no_database_is_named(decoding: Database) -> None:
    """A slot for a standby is the server's: no new database undoes it. It is named once."""
    decoding.execute("SELECT pg_create_physical_replication_slot('of_before')")
    decoding.sweep.begin()
    try:
        stranger = decoding.connect()
        decoding.admin.run(stranger.execute, "SELECT 1")  # so everything is looked at, after it
        decoding.execute("SELECT pg_create_physical_replication_slot('of_a_test')")
        assert decoding.run() == (None, [])
        assert decoding.sweep.staying == {"replication slot of_a_test"}
        decoding.sweep.staying.clear()
        assert decoding.run() == (None, [])
        assert decoding.sweep.staying == set()
    finally:
        decoding.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        decoding.sweep.close()


def test_slot_beside_a_change_of_the_schema(decoding: Database) -> None:
    """It is named although a new database is due, whose sweep will take the slot for old."""
    decoding.sweep.begin()
    try:
        decoding.execute(
            "CREATE TABLE t (x int)", "SELECT pg_create_physical_replication_slot('of_a_test')"
        )
        reason = decoding.run().reason
        assert reason is not None
        assert reason.startswith("the schema was changed")
        assert decoding.sweep.staying == {"replication slot of_a_test"}
    finally:
        decoding.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        decoding.sweep.close()


def test_slot_is_noticed_and_goes_with_the_database(decoding: Database) -> None:
    """The database is replaced, again and again: used by somebody or not, the slot goes with it."""
    name = str(decoding.url.database)
    decoding.sweep.begin()
    assert decoding.run() == (None, [])
    decoding.execute("CREATE TABLE t (x int)", "CREATE PUBLICATION p FOR TABLE t", MAKE)
    decoding.sweep.close()
    decoding.sweep.begin()
    assert decoding.run().reason == "a replication slot was left"
    programs = Binaries.find().reachable_by(Identity.choose()).folder
    follow: list[str | Path] = [
        programs / "pg_recvlogical",
        "--start",
        "--slot=of_a_test",
        "--no-loop",
        "--file=-",
    ]
    options = ["--option=proto_version=1", "--option=publication_names=p"]
    url = decoding.url.set(drivername="postgresql").render_as_string(hide_password=False)
    follower = subprocess.Popen([*follow, *options, f"--dbname={url}"], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + BOUND
        while asked(decoding, ACTIVE) != [True]:
            assert time.monotonic() < deadline
            assert follower.poll() is None
        decoding.sweep.close()
        decoding.admin.run(_removal.drop, decoding.admin, name)
    finally:
        follower.kill()
        follower.communicate()
    assert asked(decoding, ACTIVE) is None
    assert asked(decoding, f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") == 0
