"""`db-testing doctor`: what it finds on servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db_testing._commands import server_checks
from db_testing._commands.choice import Choice
from db_testing._server import _folders, _server

if TYPE_CHECKING:
    import pytest

    from db_testing._commands.findings import Finding

    from .conftest import Embedded


def checked(embedded: Embedded, user: str = "postgres") -> list[Finding]:
    """Look at a server by its URL, as a user."""
    url = _server.address(embedded.cluster).set(username=user)
    return list(server_checks.check(Choice(url.render_as_string(), "a test")))


def of(findings: list[Finding], check: str) -> list[tuple[str, str | None]]:
    """Return the levels and remedies of what was found by one check."""
    return [(finding.level, finding.remedy) for finding in findings if finding.check == check]


def test_server_that_can_be_used(embedded: Embedded) -> None:
    """A database is made, reached and dropped; nothing is wrong."""
    embedded.acquire()
    findings = checked(embedded)
    [(level, _)] = of(findings, "databases")
    assert level in {"ok", "note"}  # a machine with much to do is slow
    assert of(findings, "connections") == [("ok", None)]
    assert not {"warning", "error"} & {finding.level for finding in findings}
    assert embedded.query("SELECT count(*) FROM pg_database WHERE datname LIKE 'dbt%'") == 0


def test_role_that_may_not_create_databases(embedded: Embedded) -> None:
    """The remedy is the statement that lets it."""
    embedded.acquire()
    embedded.query("CREATE ROLE weak LOGIN")
    findings = checked(embedded, "weak")
    assert of(findings, "permissions") == [("error", 'As a superuser: ALTER ROLE "weak" CREATEDB')]
    assert of(findings, "databases") == []


def test_role_with_few_connections(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how many processes fit."""
    embedded.acquire()
    embedded.query("CREATE ROLE few LOGIN CREATEDB CONNECTION LIMIT 12")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    [(level, remedy)] = of(checked(embedded, "few"), "connections")
    assert (level, remedy) == ("warning", "Raise that limit, or run with at most -n 2.")


def test_server_that_is_not_there(embedded: Embedded) -> None:
    """Nothing else is looked at."""
    findings = checked(embedded)
    assert of(findings, "connection") == [("error", "As it says; then run doctor again.")]
    assert findings[-1].check == "connection"


def test_data_on_disk(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says why they are not in memory, and how they can be."""
    monkeypatch.setattr(_folders, "in_memory", lambda: embedded.home / "there" / "is" / "none")
    monkeypatch.setattr(_folders, "on_disk", lambda _: [embedded.home])
    monkeypatch.setattr(_folders, "MEMORY", embedded.home / "memory")
    (embedded.home / "there").touch()
    findings = list(server_checks.check(Choice("embedded", "a test")))
    [(level, remedy)] = of(findings, "room")
    assert level == "warning"
    assert remedy is not None
    assert "--shm-size" in remedy
    assert of(findings, "databases")
