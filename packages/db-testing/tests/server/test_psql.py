"""`db-testing psql`, which --db-keep-failed prints, and `db-testing server psql`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db_testing import cli
from db_testing._server import _folders, _server
from db_testing._server._binaries import Binaries

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from .conftest import Embedded


def test_server_is_started_again(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A kept database can be looked at when the server has stopped, which it does again after."""
    monkeypatch.setattr(_folders, "in_memory", lambda: embedded.home)
    embedded.acquire()
    embedded.query('CREATE DATABASE "dbtkept_p_r_test"')
    embedded.stack.close()
    embedded.wait_until_stopped()
    sql = "SELECT current_database() || ' is there'"
    assert cli.main(["psql", "dbtkept_p_r_test", "--", "-XAtc", sql]) == 0
    assert capfd.readouterr().out == "dbtkept_p_r_test is there\n"
    embedded.wait_until_stopped()


def test_database_that_is_gone(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made in place of a database that has been dropped since."""
    monkeypatch.setattr(_folders, "in_memory", lambda: embedded.home)
    assert cli.main(["psql", "dbtkept_p_r_gone", "--", "-XAtc", "SELECT 1"]) == 2
    assert 'database "dbtkept_p_r_gone" does not exist' in capfd.readouterr().err


def test_psql_of_the_server(
    embedded: Embedded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The embedded server is opened with its own psql, of its version, though PATH has none."""
    monkeypatch.setattr(_folders, "in_memory", lambda: embedded.home)
    monkeypatch.setenv("PATH", str(tmp_path))
    version = "SELECT current_database(), :'VERSION_NAME' = :'SERVER_VERSION_NAME'"
    options = ["-XAt", "--no-psqlrc", "-c", "\\conninfo", "-d", "template1"]
    script = tmp_path / "script.sql"
    script.write_text(version)
    assert cli.main(["server", "psql", "--server=embedded", *options, "-f", str(script)]) == 0
    said = capfd.readouterr().out
    assert said.endswith("template1|t\n")
    assert str(embedded.home) in said


def test_psql_of_a_server_given_by_url(
    embedded: Embedded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It is opened with the psql of PATH; without one, exit code 127 and what to install."""
    embedded.acquire()
    url = _server.address(embedded.cluster).render_as_string(hide_password=False)
    asks = ["server", "psql", "--server", url, "-XAtc", "SELECT current_database()"]
    monkeypatch.setenv("PATH", str(Binaries.find().folder))
    assert cli.main(asks) == 0
    assert capfd.readouterr().out == "postgres\n"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(asks) == 127
    assert "apt install postgresql-client" in capfd.readouterr().err
