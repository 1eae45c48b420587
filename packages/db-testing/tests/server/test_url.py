"""A server that somebody else runs, given as a URL: TCP, passwords, other versions, few rights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from db_testing._server import _admin, _server
from db_testing._server._admin import Admin
from db_testing._template import _claims, _clones, _template
from db_testing.errors import ServerError
from db_testing.schema import Schema

from .conftest import PASSWORD, External, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import URL


@pytest.fixture
def schema() -> Schema:
    """Return a schema of one table."""
    metadata = MetaData()
    Table("thing", metadata, Column("id", Integer, primary_key=True))
    return Schema.from_metadata(metadata)


def test_password_with_special_characters(external: External) -> None:
    """Whatever can be escaped in a URL reaches the server as it was meant."""
    admin = external.admin(external.url())
    try:
        assert admin.run(admin.connection.fetchval, "SELECT current_database()") == "postgres"
    finally:
        admin.close()


def test_sslmode_is_understood(external: External) -> None:
    """Libpq's name for TLS, which most providers print in their URLs, is translated."""
    admin = external.admin(external.url(rest="/postgres?sslmode=prefer"))
    try:
        assert admin.run(admin.connection.fetchval, "SELECT 1") == 1
    finally:
        admin.close()


def test_password_of_the_environment(
    external: External, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not in the URL is taken from there, also by the psql that runs SQL files."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("PGPORT", str(external.port))
    monkeypatch.setenv("PGUSER", "boss")
    (tmp_path / "schema.sql").write_text("SELECT 1;")
    admin = external.admin("postgresql://127.0.0.1/postgres")
    try:
        Schema.from_sql(tmp_path / "schema.sql").apply(admin.url)
    finally:
        admin.close()


@pytest.mark.parametrize(
    ("user", "password", "rest", "reason"),
    [
        ("boss", "wr0ng-s3cret", "/postgres", "password authentication failed"),
        ("boss", PASSWORD, "/n0where", 'database "n0where" does not exist'),
        ("boss", PASSWORD, "/postgres?ssl=require", "rejected SSL upgrade"),
        ("boss", PASSWORD, "/postgres?nonsense=1", "asyncpg does not understand an option"),
        ("boss", PASSWORD, "/postgres?ssl=nonsense", "`sslmode` parameter must be one of"),
    ],
)
def test_connection_that_is_refused_is_one_error(
    external: External, user: str, password: str, rest: str, reason: str
) -> None:
    """The error shows the URL without its password, and the server's or the driver's reason."""
    with pytest.raises(ServerError) as caught:
        external.admin(external.url(user, password, rest))
    message = str(caught.value)
    assert f"cannot connect to postgresql://boss:***@127.0.0.1:{external.port}/" in message
    assert reason in message
    assert quote(password, safe="") not in message
    assert password not in message


def test_server_that_is_not_there_is_one_error() -> None:
    """Nobody listens: the error asks whether the server runs."""
    url = f"postgresql://u:s3cret@127.0.0.1:{free_port()}/x"
    with pytest.raises(ServerError, match=r"cannot connect to .*:\*\*\*@.*Is the server running"):
        Admin(_server.acquire(url).url)


def test_password_in_the_query_is_not_shown() -> None:
    """A password may stand behind the question mark as well."""
    url = f"postgresql://127.0.0.1:{free_port()}/x?user=u&password=s3cret"
    assert "s3cret" not in _server.describe(url)
    with pytest.raises(ServerError) as caught:
        Admin(_server.acquire(url).url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cret@host:port/x", "postgresql://u:s3:cret@h@x:a/"]
)
def test_unreadable_url_is_one_error(url: str) -> None:
    """A URL that cannot be read is shown without its password, with the form it should have."""
    with pytest.raises(ServerError, match=r"cannot be read. It has the form") as caught:
        _server.acquire(url)
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_old_server_is_refused(external: External, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that lacks what we need is named, with the one that is needed."""
    monkeypatch.setattr(_admin, "OLDEST", 99)
    with pytest.raises(ServerError, match=r"is PostgreSQL \d+, and db-testing needs 99 or later"):
        external.admin(external.url())


def test_user_needs_the_right_to_create_databases(external: External, schema: Schema) -> None:
    """Without CREATEDB the error names the right; with it, nothing else is needed."""
    boss = external.admin(external.url())
    user = f"user_{os.getpid()}"
    boss.run(boss.connection.execute, f"CREATE ROLE {user} LOGIN PASSWORD 'secret'")
    mine = external.admin(external.url(user, "secret"))
    try:
        print_of = _template.fingerprint(mine, schema)
        with pytest.raises(ServerError, match=r"may not create databases .*CREATEDB"):
            _template.ensure(mine, schema, print_of)
        boss.run(boss.connection.execute, f"ALTER ROLE {user} CREATEDB")
        _clones.clone(mine, schema, print_of, "dbt_mine_01234567_a_main")
        _claims.drop(mine, "dbt_mine_01234567_a_main")
    finally:
        mine.close()
        names = boss.run(_names, boss)
        for name in names:
            boss.run(boss.connection.execute, f'DROP DATABASE "{name}"')
        boss.run(boss.connection.execute, f"DROP ROLE {user}")
        boss.close()


async def _names(admin: Admin) -> list[str]:
    rows = await admin.connection.fetch("SELECT datname FROM pg_database WHERE datname ~ '^dbt_'")
    return [row["datname"] for row in rows]


def test_users_of_one_server_do_not_share_templates(external: External, schema: Schema) -> None:
    """A role may not copy another's database, nor drop it: each has templates of its own."""
    boss = external.admin(external.url())
    user = f"other_{os.getpid()}"
    boss.run(boss.connection.execute, f"CREATE ROLE {user} LOGIN CREATEDB PASSWORD 'secret'")
    mine = external.admin(external.url(user, "secret"))
    try:
        dead = "dbt_dead_01234567_a_main"
        boss.run(boss.connection.execute, f"CREATE DATABASE {dead}")
        assert _clones.reap(mine) == []
        assert _template.fingerprint(boss, schema) != _template.fingerprint(mine, schema)
        assert _clones.reap(boss) == [dead]
    finally:
        mine.close()
        boss.run(boss.connection.execute, f"DROP ROLE {user}")
        boss.close()


def test_maintenance_database_is_the_urls_or_postgres() -> None:
    """A URL may name the only database that its user can enter."""
    named: URL = _server.acquire("postgresql+psycopg://u@h/app").url
    assert (named.database, named.drivername) == ("app", "postgresql+asyncpg")
    assert _server.acquire("postgres://u@h").url.database == "postgres"
