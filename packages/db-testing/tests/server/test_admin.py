"""The connection on which databases are made."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from db_testing._server import _admin, _server
from db_testing._server._admin import Admin
from db_testing.errors import ServerError

from .conftest import eventually

if TYPE_CHECKING:
    from .conftest import Embedded

INTERRUPTED = """
import sys
from sqlalchemy.engine import make_url
from db_testing._server._admin import Admin

admin = Admin(make_url(sys.argv[1]))
try:
    admin.run(admin.connection.execute, "SELECT pg_sleep(600)")
except KeyboardInterrupt:
    print(admin.run(admin.connection.fetchval, "SELECT 'usable'"))
admin.close()
"""


def test_interrupt_ends_what_the_server_is_doing(embedded: Embedded) -> None:
    """Ctrl-C while waiting for the server, for a template say, ends the wait at once."""
    embedded.acquire()
    admin = embedded.connect()
    url = admin.url.render_as_string()
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, url], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"
            eventually("the server is at work", lambda: embedded.query(sleeping))
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=20)[0] == "usable\n"
        finally:
            process.kill()


def test_lost_connection_is_one_error(embedded: Embedded) -> None:
    """When the server has ended the session, the error says what was lost; closing still works."""
    embedded.acquire()
    admin, other = embedded.connect(), embedded.connect()
    pid = admin.run(admin.connection.fetchval, "SELECT pg_backend_pid()")
    other.run(other.connection.fetchval, f"SELECT pg_terminate_backend({pid}, 10000)")
    with pytest.raises(ServerError, match=r"the connection to postgresql://.* is lost"):
        admin.run(admin.connection.fetchval, "SELECT 1")


def test_closed_connection_leaves_no_thread(embedded: Embedded) -> None:
    """The thread ends with the connection."""
    embedded.acquire()
    before = threading.active_count()
    assert embedded.query("SELECT 1") == 1
    assert threading.active_count() == before


@pytest.mark.parametrize(("refusals", "patience"), [(2, 30.0), (1000, 0.05)])
def test_server_that_is_not_ready_yet_is_waited_for(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch, refusals: int, patience: float
) -> None:
    """A container's server that still starts, or one that recovers, gets a moment, not forever."""
    embedded.acquire()
    connect: Any = asyncpg.connect
    left = iter(range(refusals))

    async def not_yet(**options: object) -> object:
        if next(left, None) is not None:
            message = "the database system is starting up"
            raise asyncpg.CannotConnectNowError(message)
        return await connect(**options)

    monkeypatch.setattr(asyncpg, "connect", not_yet)
    monkeypatch.setattr(_admin, "PATIENCE", patience)
    if refusals == 2:
        assert embedded.query("SELECT 1") == 1
    else:
        with pytest.raises(ServerError, match="the database system is starting up"):
            embedded.connect()


def test_server_that_was_waited_for_in_vain() -> None:
    """It is not waited for again, until a connection to it is to be had."""
    patience = _admin.Patience()
    with pytest.raises(ConnectionError), patience.lent():
        raise ConnectionError
    lent = []
    for _ in range(2):
        with patience.lent() as seconds:
            lent.append(seconds)
    assert lent == [0, _admin.PATIENCE]


def test_server_that_cuts_off_is_waited_for(embedded: Embedded, tmp_path: Path) -> None:
    """A server that is about to recover, or a container's port, accepts and closes at once."""
    embedded.acquire()
    real = Path(str(_server.address(embedded.cluster).query["host"])) / ".s.PGSQL.5432"
    place, ready = tmp_path / real.name, tmp_path / "ready"
    ready.symlink_to(real)

    def cut_off() -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place))
            listening.listen()
            up.set()
            listening.accept()[0].close()
            last, _ = listening.accept()
            ready.rename(place)
            last.close()

    up = threading.Event()
    server = threading.Thread(target=cut_off, daemon=True)
    server.start()
    assert up.wait(10)
    admin = Admin(_server.address(embedded.cluster).set(query={"host": str(tmp_path)}))
    try:
        assert admin.run(admin.connection.fetchval, "SELECT 1") == 1
    finally:
        admin.close()
        server.join(10)


async def test_session_that_is_stuck_is_left() -> None:
    """Closing does not fail when the server does not say goodbye."""

    class Stuck:
        left = False

        async def close(self, **_: object) -> None:
            raise TimeoutError

        def terminate(self) -> None:
            self.left = True

    stuck = Stuck()
    await _admin.disconnect(stuck)  # type: ignore[arg-type]
    assert stuck.left
