"""`python -m db_testing psql`: what --db-keep-failed prints for the embedded server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db_testing import _folders, cli

if TYPE_CHECKING:
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
