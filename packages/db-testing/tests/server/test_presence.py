"""`db-testing server`: a server of db-testing's that is started, looked at and stopped by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import make_url

from db_testing import cli
from db_testing._commands import choice
from db_testing._server import _folders, _presence, _server
from db_testing._server._admin import Admin
from db_testing.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Embedded

STARTS = """
import sys
from pathlib import Path
from db_testing import cli
from db_testing._server import _folders
_folders.in_memory = lambda: Path(sys.argv[1])
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.fixture
def command(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Return what runs `db-testing server`, and returns its exit code and what it has said."""
    monkeypatch.setattr(_folders, "in_memory", lambda: embedded.home)
    monkeypatch.delenv("DB_TESTING_SERVER", raising=False)

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = cli.main(["server", *arguments, "--server=embedded", "--json"])
        said = capsys.readouterr().out
        return code, json.loads(said) if said else {}

    return run


def test_server_stays_until_it_is_stopped(
    embedded: Embedded, command: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    """A process that starts it may end; others use it as ever; who stops it waits until it has."""
    arguments = ["server", "start", "--json", "--server=embedded"]
    started = subprocess.run(
        [sys.executable, "-c", STARTS, embedded.home, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(started.stdout)["started"]
    code, status = command("status")
    assert code == 0
    assert status["running"]
    assert status["stays"]
    assert status["users"] == []
    assert status["process"] == embedded.postmaster
    embedded.acquire()
    embedded.stack.close()
    assert command("start") == (
        0,
        {"started": False, "folder": str(embedded.cluster.folder), "url": status["url"]},
    )
    assert command("stop") == (0, {"stopped": True, "folder": str(embedded.cluster.folder)})
    assert embedded.stopped()
    code, status = command("status")
    assert code == 3
    assert not status["running"]


@pytest.mark.usefixtures("command")
def test_what_is_said_to_people(embedded: Embedded, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command says in a line what it has done, and status what there is to know."""

    def say(*arguments: str) -> str:
        cli.main(["server", *arguments, "--server=embedded"])
        return capsys.readouterr().out

    assert ": started\npostgresql://" in say("start")
    assert ": ran already, and now stays\npostgresql://" in say("start")
    status = dict(line.split(maxsplit=1) for line in say("status").splitlines())
    assert (status["running"], status["users"], status["stays"]) == ("yes", "nobody", "yes")
    assert status["bytes"].endswith(" MB")
    assert say("url") == f"{status['url']}\n"
    embedded.acquire()
    assert f"users        process {os.getpid()}\n" in say("status")
    embedded.stack.close()
    assert say("stop") == "stopped\n"
    assert say("stop") == "it did not run\n"
    assert "process      -\n" in say("status")


def test_url_leads_to_the_server(
    embedded: Embedded, command: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    """It is printed while the server runs, and not otherwise: then the exit code is 3."""
    assert command("url") == (3, {})
    embedded.acquire()
    code, found = command("url", "postgres")
    assert code == 0
    admin = Admin(make_url(found["sqlalchemy"]))
    try:
        assert admin.run(admin.connection.fetchval, "SELECT current_database()") == "postgres"
    finally:
        admin.close()


def test_server_in_use_is_not_stopped(
    embedded: Embedded, command: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    """Nobody's tests break: the error names the process that uses it."""
    embedded.acquire()
    with pytest.raises(ServerError, match=rf"in use by process {os.getpid()}\b"):
        _presence.stop(embedded.cluster)
    assert command("stop") == (1, {})
    assert embedded.query("SELECT 1") == 1


def test_server_that_does_not_run_is_stopped_already(
    embedded: Embedded, command: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    """To stop it twice is no error."""
    assert command("stop") == (0, {"stopped": False, "folder": str(embedded.cluster.folder)})


def test_only_the_server_that_was_asked_stays(embedded: Embedded) -> None:
    """After one that was killed, the next stops with its last user."""
    assert _presence.start(embedded.cluster)
    os.kill(embedded.postmaster, signal.SIGKILL)
    embedded.wait_until_stopped()
    embedded.acquire()
    embedded.stack.close()
    embedded.wait_until_stopped()


@pytest.mark.parametrize(
    ("configuration", "environment", "chosen"),
    [
        ("addopts = --db-server=system -q", "embedded", ("system", "addopts in {file}")),
        ("addopts = -q --db-server 'system:15'", "", ("system:15", "addopts in {file}")),
        ("db_server = system", "embedded", ("embedded", "the environment variable {variable}")),
        ("db_server = system", "", ("system", "db_server in {file}")),
        ("", "", ("auto", "nothing chooses another")),
    ],
)
def test_server_that_tests_would_use(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    configuration: str,
    environment: str,
    chosen: tuple[str, str],
) -> None:
    """The command takes the same server as pytest would, and knows who chose it."""
    file = pytester.makeini(f"[pytest]\n{configuration}\n")
    monkeypatch.setenv("DB_TESTING_SERVER", environment)
    server, source = (each.format(file=file, variable="DB_TESTING_SERVER") for each in chosen)
    assert choice.choose(None) == choice.Choice(server, source)
    assert choice.choose("embedded") == choice.Choice("embedded", "--server")


def test_what_is_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    """It is an error with what may stand there, and without the password."""
    assert cli.main(["server", "status", "--server", "mysql://boss:secret@host/x"]) == 1
    said = capsys.readouterr().err
    assert "'mysql://boss:***@host/x' (--server) is neither auto, embedded or system" in said


def test_status_of_anothers_server(embedded: Embedded, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a server at a URL its version is shown, and how many databases of ours it has."""
    embedded.acquire()
    admin = embedded.connect()
    admin.run(admin.connection.execute, "CREATE DATABASE dbt_one")
    url = _server.address(embedded.cluster).render_as_string(hide_password=False)
    assert cli.main(["server", "status", "--json", "--server", url]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["databases"]) == (admin.server_version, 1)


def test_server_that_is_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """It is neither started nor stopped here, and its password is not shown."""
    url = "postgresql://boss:secret@127.0.0.1:1/x"
    for action in ("start", "stop"):
        assert cli.main(["server", action, "--server", url]) == 1
        said = capsys.readouterr().err
        assert f"boss:***@127.0.0.1:1/x (--server) is not db-testing's to {action}" in said
    assert cli.main(["server", "status", "--server", url]) == 3
    assert "secret" not in "".join(capsys.readouterr())
