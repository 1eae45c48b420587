"""The embedded server starts on first use, is shared, and stops with the last lease."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, unquote

import asyncpg
import psycopg
import pytest

from db_testing._server import _cluster, _folders, _locks, _server
from db_testing._server._admin import Admin, disconnect, libpq_url, url_with_host
from db_testing._server._binaries import Binaries
from db_testing._server._cluster import Cluster
from db_testing._server._identity import Identity
from db_testing.errors import ServerError

from .conftest import Embedded, copy_with_owners, eventually, ps


def entries(folder: Path) -> set[str]:
    """List what is in a folder."""
    return {path.name for path in folder.iterdir()}


def test_first_use_starts_a_server(untouched: Embedded) -> None:
    """The first lease makes the data directory and starts a server that can be used at once."""
    untouched.acquire()
    assert untouched.query("SELECT 1") == 1
    assert untouched.query("SELECT current_setting('fsync')") == "off"


def test_second_process_shares_it(embedded: Embedded) -> None:
    """A process that comes second gets the server that the first one started."""
    embedded.acquire()
    before = embedded.postmaster
    embedded.hold()
    assert embedded.postmaster == before


def test_processes_that_come_at_once_start_one_server(embedded: Embedded) -> None:
    """Of several processes at the same moment one starts the server, and all get it."""
    holders = [embedded.begin() for _ in range(6)]
    answers = [holder.stdout.readline() for holder in holders if holder.stdout is not None]
    assert answers == ["ready\n"] * 6
    log = embedded.cluster.log.read_text()
    assert log.count("starting PostgreSQL") == 1
    assert "FATAL" not in log


def test_release_of_the_last_lease_stops_it(embedded: Embedded) -> None:
    """The server outlives the process that started it, and stops with the last that uses it."""
    first, second = embedded.hold(), embedded.hold()
    postmaster = embedded.postmaster
    first.communicate("\n")
    assert first.returncode == 0
    assert embedded.query("SELECT 1") == 1
    second.communicate("\n")
    embedded.wait_until_stopped()
    assert ps(postmaster, "pid") == ""


def test_killed_holder_gives_its_lease_up(embedded: Embedded) -> None:
    """SIGKILL releases a lease as well as a clean end does."""
    holder = embedded.hold()
    postmaster, watchdog = embedded.postmaster, embedded.watchdog
    holder.kill()
    embedded.wait_until_stopped()
    eventually("watchdog and server end", lambda: not ps(postmaster, "pid") + ps(watchdog, "pid"))


def test_stopped_server_leaves_data_and_locks_only(embedded: Embedded) -> None:
    """After a run there is no socket, no pid file and no half-made folder."""
    embedded.acquire().close()
    embedded.wait_until_stopped()
    kept = {"booted", "data", "leases", "running", "starting", "socket", "server.log"}
    place = embedded.cluster.socket_folder.resolve()
    assert entries(embedded.cluster.folder) == kept | {place.name}
    assert entries(place) == set()
    assert not (embedded.cluster.data / "postmaster.pid").exists()
    assert entries(embedded.cluster.data / "pg_dynshmem") == set()


def test_lease_is_not_inherited_by_a_forked_child(embedded: Embedded) -> None:
    """A child that the tests forked and forgot does not keep the server running."""
    lease = embedded.acquire()
    postmaster = embedded.postmaster
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os.write(tell, b".")
        signal.pause()
        os._exit(0)
    try:
        os.read(ready, 1)
        lease.close()
        embedded.wait_until_stopped()
        assert ps(postmaster, "pid") == ""
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)


def test_socket_folder_as_the_host(embedded: Embedded) -> None:
    """Libpq's way to write it in a URL, escaped, leads there too, with the port or without."""
    embedded.acquire()
    host = quote(str(embedded.cluster.socket_folder), safe="")
    for port in ("", ":5432"):
        admin = Admin(_server.acquire(f"postgresql://postgres@{host}{port}/postgres").url)
        try:
            assert admin.run(admin.connection.fetchval, "SELECT inet_server_addr()") is None
            assert str(embedded.cluster.socket_folder) in unquote(libpq_url(admin.url))
        finally:
            admin.close()


def test_port_of_the_environment(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """PGPORT is for a server of the user's; ours has one socket, by whatever driver."""
    embedded.acquire()
    monkeypatch.setenv("PGPORT", "5433")
    url = _server.address(embedded.cluster)
    admin = Admin(url)
    psycopg.connect(libpq_url(url)).close()
    for given in (url, url_with_host(url)):
        shown = given.set(drivername="postgresql").render_as_string(hide_password=False)
        admin.run(disconnect, admin.run(asyncpg.connect, shown))
    admin.close()


def test_killed_watchdog_takes_the_server_with_it(embedded: Embedded) -> None:
    """A server without a watchdog would never stop: it ends too, and the next lease starts one."""
    embedded.acquire()
    postmaster = embedded.postmaster
    os.kill(embedded.watchdog, signal.SIGKILL)
    embedded.wait_until_stopped()
    assert ps(postmaster, "pid") == ""
    embedded.acquire()
    assert embedded.postmaster != postmaster
    assert embedded.query("SELECT 1") == 1


def test_terminated_watchdog_stops_the_server_cleanly(embedded: Embedded) -> None:
    """SIGTERM, as from a machine that shuts down, ends in a regular shutdown."""
    embedded.acquire()
    os.kill(embedded.watchdog, signal.SIGTERM)
    embedded.wait_until_stopped()
    assert "database system is shut down" in embedded.cluster.log.read_text()


def test_killed_server_is_recovered_by_the_next_lease(embedded: Embedded) -> None:
    """After SIGKILL of the server its watchdog ends; the next one recovers the same data."""
    embedded.acquire()
    admin = embedded.connect()
    admin.run(admin.connection.execute, "CREATE DATABASE kept")
    watchdog = embedded.watchdog
    os.kill(embedded.postmaster, signal.SIGKILL)
    eventually("the watchdog ends", lambda: embedded.stopped() and not ps(watchdog, "pid"))
    embedded.acquire()
    assert embedded.query("SELECT count(*) FROM pg_database WHERE datname = 'kept'") == 1
    assert "automatic recovery in progress" in embedded.cluster.log.read_text()


def test_pid_file_with_the_number_of_another_process_is_no_obstacle(embedded: Embedded) -> None:
    """What a killed server left is removed: its number may be another process's by now."""
    embedded.acquire()
    before = embedded.cluster.data.stat().st_ino
    pid_file = embedded.cluster.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    os.kill(embedded.postmaster, signal.SIGKILL)
    embedded.wait_until_stopped()
    with subprocess.Popen(
        ["/bin/sleep", "60"], **embedded.cluster.identity.popen_options()
    ) as bystander:
        try:
            pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
            embedded.acquire()
            assert embedded.query("SELECT 1") == 1
            assert embedded.cluster.data.stat().st_ino == before
        finally:
            bystander.kill()


def test_lease_during_the_stop_starts_anew(embedded: Embedded) -> None:
    """Who comes while the server stops waits until it is gone, and starts the next one."""
    embedded.acquire().close()
    for _ in range(10):
        embedded.acquire()
        assert embedded.query("SELECT 1") == 1
        embedded.stack.close()


def test_server_that_recovers_is_waited_for(embedded: Embedded) -> None:
    """When one of its processes is killed, the server restarts itself; a new lease waits for it."""
    embedded.acquire()
    killed, other = embedded.connect(), embedded.connect()
    before = embedded.postmaster
    os.kill(killed.connection.get_server_pid(), signal.SIGKILL)
    eventually("the server has noticed, and cuts everybody off", other.connection.is_closed)
    embedded.acquire()
    assert embedded.query("SELECT 1") == 1
    assert embedded.postmaster == before


def test_killed_starter_does_not_spoil_the_data_directory(untouched: Embedded) -> None:
    """Who comes after a process that died during initdb waits for the orphan, and begins anew."""
    starter = untouched.begin()
    partial = untouched.cluster.folder / "data.partial" / "base"
    eventually("initdb is at work", partial.exists)
    starter.kill()
    starter.communicate()
    assert not untouched.cluster.data.exists()
    untouched.acquire()
    assert untouched.query("SELECT count(*) FROM pg_database") == 3
    assert "data.partial" not in entries(untouched.cluster.folder)


def test_killed_starter_leaves_no_server_behind(embedded: Embedded) -> None:
    """A server whose starter died before it was ready is used by the next, or stops."""
    starter = embedded.begin()
    eventually("the server starts", (embedded.cluster.data / "postmaster.pid").exists)
    starter.kill()
    starter.communicate()
    embedded.acquire()
    assert embedded.query("SELECT 1") == 1
    embedded.stack.close()
    embedded.wait_until_stopped()


def test_initdb_keeps_shared_memory_in_the_data_directory(data_directory: Path) -> None:
    """What a killed initdb leaves goes with its data directory, and is not in /dev/shm."""
    lines = (data_directory / "postgresql.conf").read_text().splitlines()
    (chosen,) = [line for line in lines if line.startswith("dynamic_shared_memory_type")]
    assert chosen.split()[2] == "mmap"


def test_failing_initdb_leaves_nothing_and_says_why(untouched: Embedded) -> None:
    """A full disk during initdb is one error; the next attempt, with room, works."""
    starter = untouched.begin("100000")
    output, _ = starter.communicate(timeout=60)
    assert starter.returncode == 1
    assert f"the data directory {untouched.cluster.data} could not be made:" in output
    assert f"Is there room in {untouched.cluster.folder}?" in output
    assert not {"data", "data.partial"} & entries(untouched.cluster.folder)
    untouched.acquire()
    assert untouched.query("SELECT 1") == 1


def test_spoilt_data_directory_is_made_anew(embedded: Embedded) -> None:
    """A data directory that the server cannot read is replaced: it held nothing but templates."""
    (embedded.cluster.data / "global" / "pg_control").unlink()
    embedded.acquire()
    assert embedded.query("SELECT 1") == 1


def test_server_that_cannot_start_is_one_error(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a new data directory does not help, the error has the server's own words."""
    monkeypatch.setitem(_cluster.OPTIONS, "shared_buffers", "nonsense")
    with pytest.raises(ServerError) as caught:
        embedded.acquire()
    message = str(caught.value)
    assert message.startswith("the embedded PostgreSQL did not start:\n    ")
    assert 'invalid value for parameter "shared_buffers": "nonsense"' in message
    assert str(embedded.cluster.log) in message


def test_server_program_that_vanished_is_one_error(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment that was removed meanwhile is named in the error."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ServerError, match="the embedded PostgreSQL did not start:"):
        embedded.acquire()


def test_virtual_environment_may_go(
    home: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that started the server may be over, its environment removed: others go on."""
    package = binaries.folder.parents[1]
    for part in package.parent.glob(f"{package.name}*"):
        shutil.copytree(part, home / "environment" / part.name, symlinks=True)
    programs = home / "environment" / package.name / "pginstall" / "bin"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    cluster = Cluster.locate(
        Binaries(programs, binaries.version), Identity.choose(), [home / "data"]
    )
    server = Embedded(cluster)
    try:
        server.acquire()
        shutil.rmtree(home / "environment")
        server.query("DO $$ BEGIN END $$")  # of which the library must be found
    finally:
        server.end()


def test_silent_watchdog_is_not_waited_for_without_end(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """A start that takes too long is given up, and what was started is ended."""
    silent = home / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(silent))
    monkeypatch.setattr(_cluster, "START_TIMEOUT", 0.2)
    with pytest.raises(ServerError, match=r"no answer within 0\.2 s"):
        embedded.acquire()
    assert embedded.stopped()


def test_lock_that_is_never_released_is_named(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a lock has a bound, and the error says which process holds it."""
    monkeypatch.setattr(_locks, "TIMEOUT", 0.2)
    for name in ("leases", "starting", "running"):
        with _locks.locked(embedded.cluster.folder / name, _locks.EXCLUSIVE):
            with pytest.raises(ServerError, match=rf"waited 0\.2 s .*/{name} ") as caught:
                embedded.acquire()
            assert not Path("/proc/locks").exists() or f"process {os.getpid()}" in str(caught.value)


def test_leases_of_one_process_are_independent(embedded: Embedded) -> None:
    """Leases belong to open files: those of one process are independent of each other."""
    first = embedded.acquire()
    second = embedded.acquire()
    first.close()
    assert embedded.query("SELECT 1") == 1
    second.close()
    embedded.wait_until_stopped()


def test_server_is_kept_alive_for_as_long_as_was_asked(embedded: Embedded) -> None:
    """It outlives its last lease, serves whoever comes meanwhile, and stops in the end."""
    embedded.cluster.acquire(keepalive=3600).close()
    postmaster = embedded.postmaster
    holder = embedded.hold()  # which asks for nothing
    assert embedded.postmaster == postmaster
    holder.communicate("\n")
    assert ps(postmaster, "pid") != ""  # it waits for an hour, whoever came in between
    os.kill(embedded.watchdog, signal.SIGTERM)
    embedded.wait_until_stopped()
    embedded.cluster.acquire(keepalive=0.2).close()
    embedded.wait_until_stopped()


def test_server_whose_cluster_was_removed_leaves_the_next_one_alone(
    embedded: Embedded, data_directory: Path
) -> None:
    """It ends in its own time, and removes its own socket."""
    embedded.acquire()
    old = embedded.postmaster
    shutil.rmtree(embedded.cluster.folder)
    embedded.cluster._prepare()
    copy_with_owners(data_directory, embedded.cluster.data)
    embedded.acquire()
    assert embedded.postmaster != old
    with contextlib.suppress(ProcessLookupError):  # it looks after its files once a minute
        os.kill(old, signal.SIGTERM)
    eventually("the old server ends", lambda: not ps(old, "pid"))
    assert embedded.query("SELECT 1") == 1


@pytest.mark.parametrize(
    ("boot", "clean", "kept"),
    [("other", False, False), ("other", True, False), (None, False, True)],
    ids=["crash", "shutdown", "kill"],
)
def test_data_that_a_crash_of_the_machine_may_have_spoilt(
    embedded: Embedded, boot: str | None, *, clean: bool, kept: bool
) -> None:
    """They are thrown away, as it never waited for the disk. Those of a killed server are whole.

    A server that had stopped has not waited either: the machine may have lost power just after.
    """
    embedded.acquire()
    embedded.query("CREATE DATABASE dbtkept_x")
    if not clean:
        os.kill(embedded.postmaster, signal.SIGKILL)
    embedded.stack.close()
    embedded.wait_until_stopped()
    if boot is not None:
        (embedded.cluster.folder / "booted").write_text(boot)
    embedded.acquire()
    found = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'dbtkept_x')"
    assert embedded.query(found) is kept


def test_data_that_take_too_much_memory(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are removed before the server starts, which is said; templates are built anew."""
    embedded.acquire()
    embedded.query("CREATE DATABASE large")
    embedded.stack.close()
    embedded.wait_until_stopped()
    size = _folders.size(embedded.cluster.data)
    said: list[str] = []
    left = None
    for limit in (None, size * 2, size // 2):
        monkeypatch.setattr(_folders, "limit", lambda _, limit=limit: limit)
        assert not said
        with embedded.cluster.acquire(say=said.append):
            left = embedded.query("SELECT count(*) FROM pg_database WHERE datname = 'large'")
        embedded.wait_until_stopped()
    assert left == 0
    (remark,) = said
    assert f"took {size >> 20} MB of memory" in remark


def test_data_on_disk(untouched: Embedded) -> None:
    """Whoever starts the server is told why its data are not in memory; others are not."""
    cluster = dataclasses.replace(untouched.cluster, refused=("/elsewhere: 60 MB free",))
    said: list[str] = []
    with cluster.acquire(say=said.append), cluster.acquire(say=said.append):
        (remark,) = said
    assert f"lie on disk, in {cluster.folder}," in remark
    assert remark.endswith("because of /elsewhere: 60 MB free")
