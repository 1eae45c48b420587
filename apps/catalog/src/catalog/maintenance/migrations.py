"""Migrations: numbered SQL files, each run once and in one transaction.

Of the runners for plain SQL, yoyo-migrations has had no release for two years, and pogo-migrate
keeps what undoes a migration in the same file, which psql would run as well.
"""

from pathlib import Path

from sqlalchemy import Connection, text

_KEPT = text("""
    CREATE TABLE IF NOT EXISTS schema_migrations (
        name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
    )
""")
_KEEP = text("INSERT INTO schema_migrations (name) VALUES (:name)")


class MigrationError(Exception):
    """Refuse to migrate."""


def migrate(connection: Connection, folder: Path) -> list[str]:
    """Run what has not been run yet, in the order of names; return what that was.

    All in the connection's transaction: an error leaves nothing. Two at the same time take turns.

    Raises:
        MigrationError: there are no files, or one that was run is missing.
    """
    files = {path.name: path for path in sorted(folder.glob("*.sql"))}
    if not files:
        message = f"There are no *.sql files in {folder.resolve()}; CATALOG_SCHEMA says where."
        raise MigrationError(message)
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('catalog migrations'))"))
    connection.execute(_KEPT)
    done = set(connection.scalars(text("SELECT name FROM schema_migrations")))
    if missing := sorted(done - set(files)):
        message = f"The database has had {', '.join(missing)}, which {folder.resolve()} has not."
        raise MigrationError(message)
    waiting = [name for name in files if name not in done]
    for extension in ("pg_trgm", "vector"):
        connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {extension}"))
    for name in waiting:
        # Without parameters psycopg sends a file as it is, of many statements and with its % signs.
        script = files[name].read_text(encoding="utf-8")
        connection.execution_options(no_parameters=True).exec_driver_sql(script)
        connection.execute(_KEEP, {"name": name})
    return waiting
