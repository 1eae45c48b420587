"""Migrations: each SQL file is run once, in one transaction."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from catalog.maintenance.migrations import MigrationError, migrate

# Each begins without the schema; what they make goes with the database.
pytestmark = pytest.mark.db(isolation="database")

SCHEMA = Path(__file__).parents[2] / "schema"
TABLES = text("SELECT relname FROM pg_class WHERE relname ~ '^(t|u)$' ORDER BY relname")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two migrations, the second of which needs the first."""
    (tmp_path / "0001_t.sql").write_text("CREATE TABLE t (x int); INSERT INTO t VALUES (7 % 4);")
    (tmp_path / "0002_u.sql").write_text("CREATE TABLE u AS SELECT * FROM t;")
    return tmp_path


def test_files_are_run_in_order(db_sync_engine: Engine, folder: Path) -> None:
    """Of many statements each, with signs that drivers take for parameters."""
    with db_sync_engine.begin() as connection:
        assert migrate(connection, folder) == ["0001_t.sql", "0002_u.sql"]
        assert connection.execute(text("SELECT x FROM u")).scalar_one() == 3


def test_what_was_run_is_not_run_again(db_sync_engine: Engine, folder: Path) -> None:
    """What came since then is."""
    with db_sync_engine.begin() as connection:
        migrate(connection, folder)
    (folder / "0003_v.sql").write_text("DROP TABLE u")
    with db_sync_engine.begin() as connection:
        assert migrate(connection, folder) == ["0003_v.sql"]
        assert migrate(connection, folder) == []


def test_an_error_leaves_nothing(db_sync_engine: Engine, folder: Path) -> None:
    """Not even of the files before; mended, they are run."""
    (folder / "0002_u.sql").write_text("CREATE TABLE u AS SELECT * FROM missing;")
    with pytest.raises(DBAPIError, match="missing"), db_sync_engine.begin() as connection:
        migrate(connection, folder)
    with db_sync_engine.begin() as connection:
        assert connection.scalars(TABLES).all() == []
    (folder / "0002_u.sql").write_text("CREATE TABLE u (x int);")
    with db_sync_engine.begin() as connection:
        assert len(migrate(connection, folder)) == 2


def test_a_file_that_is_missing_is_named(db_sync_engine: Engine, folder: Path) -> None:
    """The database is newer than the program."""
    with db_sync_engine.begin() as connection:
        migrate(connection, folder)
        (folder / "0002_u.sql").unlink()
        with pytest.raises(MigrationError, match=r"0002_u\.sql"):
            migrate(connection, folder)


def test_an_empty_folder_is_an_error(db_sync_engine: Engine, tmp_path: Path) -> None:
    """Rather than a database without tables."""
    with (
        db_sync_engine.begin() as connection,
        pytest.raises(MigrationError, match="CATALOG_SCHEMA"),
    ):
        migrate(connection, tmp_path)
