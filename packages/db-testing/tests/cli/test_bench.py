"""`db-testing bench`: what isolation costs with a project's own schema."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import make_url

from db_testing import cli
from db_testing._commands import bench, sample_row
from db_testing._server._admin import Admin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import asyncpg

    from .conftest import Command

pytestmark = pytest.mark.usefixtures("measured")

STRATEGIES = [
    "rollback",
    "commit",
    "database",
    "TRUNCATE of all tables",
    "schema built for each test",
]
SECONDS = 60
"""In which a command has begun to measure, and in which it is gone."""


@pytest.fixture
def admin(test_database_url: str) -> Iterator[Admin]:
    """Return a session that sees all databases of the server."""
    with closing(Admin(make_url(test_database_url).set(database="postgres"))) as admin:
        yield admin


def databases(admin: Admin, project: Path) -> list[str]:
    """Return the databases of a project's runs."""
    sql = "SELECT datname FROM pg_database WHERE starts_with(datname, $1)"
    rows = admin.run(admin.connection.fetch, sql, f"dbt_{project.name}_")
    return [row["datname"] for row in rows]


def test_project(project: Path, unique: str, command: Command, admin: Admin) -> None:
    """Every strategy is measured on its schema; no database is left, and no test was run."""
    (project / "test_more.py").write_text("def test_never_runs(db):\n    1 / 0\n")
    code, said = command("bench", "--json", "--seconds", "1")
    assert code == 0
    [found] = said["benchmarks"]
    assert found["where"] == f"{project}/conftest.py:6"
    assert (found["tables"], found["row"]) == (1, f"thing_{unique}")
    assert (found["tests"], found["tests_from"]) == (3, "as many ask for the database")
    assert [each["name"] for each in found["strategies"]] == STRATEGIES
    assert [each["fails"] for each in found["strategies"]] == [None] * len(STRATEGIES)
    assert all(each["tests"] >= 3 for each in found["strategies"])
    more = {each["name"]: each["over_ms"] for each in found["strategies"]}
    assert more["schema built for each test"] > more["rollback"]
    for each in found["strategies"]:
        assert each["suite_seconds"] == pytest.approx(max(0, each["over_ms"] * 3e-3), abs=0.01)
    assert databases(admin, project) == []


def test_strategy_that_fails(
    project: Path, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named with its reason; the others are measured, also where no row can be made up."""
    (project / "conftest.py").write_text(
        f"""
import pytest
from db_testing import Schema

@pytest.fixture(scope="session")
def db_schema(tmp_path_factory):
    file = tmp_path_factory.mktemp("sql") / "schema.sql"
    file.write_text(
        "CREATE TABLE kept_{unique} (id int PRIMARY KEY);"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'it is kept'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT OR TRUNCATE ON kept_{unique}"
        " EXECUTE FUNCTION refuse();"
    )
    return Schema.from_sql(file)
"""
    )
    assert cli.main(["bench", "--seconds", "1", "--tests", "1000"]) == 0
    said = capsys.readouterr().out
    assert f", {project}/conftest.py:5\nEach test deletes nothing and reads a row, since no" in said
    rows = dict(re.findall(r"^(\w.*?)  +(fails|[+-]\d\S* ms)", said, re.MULTILINE))
    assert [name for name, shown in rows.items() if shown == "fails"] == ["TRUNCATE of all tables"]
    assert list(rows) == STRATEGIES
    assert re.search(r"^TRUNCATE of all tables fails: .*it is kept", said, re.MULTILINE)
    assert "\n1000 tests, one after the other (--tests).\nTo isolate them takes " in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_command_that_is_ended(project: Path, admin: Admin, number: signal.Signals) -> None:
    """Interrupted or killed, it leaves no database behind."""
    process = subprocess.Popen(
        [sys.executable, "-m", "db_testing", "bench", "--seconds", "60"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until = time.monotonic() + SECONDS
        while len(databases(admin, project)) < 4:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)  # between two looks
        process.send_signal(number)
        said, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    if number == signal.SIGINT:
        assert process.returncode == 130, said
        assert databases(admin, project) == []
    until = time.monotonic() + SECONDS
    while databases(admin, project) and time.monotonic() < until:
        time.sleep(0.1)  # between two looks
    assert databases(admin, project) == []


@pytest.mark.parametrize(
    ("schema", "table"),
    [
        pytest.param(
            "CREATE TYPE mood AS ENUM ('good', 'bad');"
            "CREATE DOMAIN code AS varchar(9) NOT NULL CHECK (VALUE <> '');"
            "CREATE TABLE rows (id uuid PRIMARY KEY, code code UNIQUE, mood mood NOT NULL,"
            " tags text[] NOT NULL, at timestamptz NOT NULL, price numeric NOT NULL,"
            " body jsonb NOT NULL, raw bytea NOT NULL, span daterange NOT NULL, free text)",
            "rows",
            id="types",
        ),
        pytest.param("CREATE TABLE rows (id serial, note text)", "rows", id="defaults"),
        pytest.param(
            "CREATE TABLE a (at point NOT NULL, id int UNIQUE);"
            "CREATE TABLE b (id int NOT NULL REFERENCES a (id));"
            'CREATE SCHEMA "S";'
            'CREATE TABLE "S"."Big" (a text NOT NULL, "B c" int NOT NULL UNIQUE)',
            '"S"."Big"',
            id="names, and a reference",
        ),
        pytest.param(
            "CREATE TABLE one (sure boolean NOT NULL UNIQUE);"
            "CREATE TABLE bounded (a int NOT NULL CHECK (a > 100))",
            None,
            id="a second row, and a check",
        ),
        pytest.param(
            "CREATE TABLE late (id int NOT NULL);"
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'at commit'; END $$;"
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION refuse()",
            None,
            id="at commit",
        ),
    ],
)
async def test_row_that_is_made_up(
    db_asyncpg: asyncpg.Connection[Any], schema: str, table: str | None
) -> None:
    """The first table is chosen that takes two rows, and it is left as it was."""
    for other in await sample_row.tables(db_asyncpg):
        await db_asyncpg.execute(f"DROP TABLE {other} CASCADE")
    await db_asyncpg.execute(schema)
    found = await sample_row.find(db_asyncpg)
    assert (found[0] if found is not None else None) == table
    if found is not None:
        assert await db_asyncpg.fetchval(f"SELECT count(*) FROM {found[0]}") == 0
        await db_asyncpg.execute(found[1], *sample_row.arguments(found[1], 3))


def test_conclusions() -> None:
    """What a suite spends is said for people; what cannot be done by hand is named."""
    found: dict[str, Any] = {
        "tests": 900,
        "tests_from": "--tests",
        "strategies": [
            {"name": "rollback", "suite_seconds": 0.36, "fails": None},
            {"name": "TRUNCATE of all tables", "suite_seconds": 41.2, "fails": None},
            {"name": "schema built for each test", "suite_seconds": 253.8, "fails": None},
        ],
    }
    tests, takes = bench.conclusions(found)
    assert tests == "900 tests, one after the other (--tests)."
    assert takes == (
        "To isolate them takes 0.36 s with rollback isolation, beside 41 s with TRUNCATE of all "
        "tables and 4.2 min with a schema built for each test."
    )
    found["strategies"][1] |= {"suite_seconds": None, "fails": "no"}
    assert next(bench.conclusions(found)) == "TRUNCATE of all tables fails: no"


def test_tests_that_do_not_ask_for_the_database_yet() -> None:
    """All are counted, and it is said."""
    facts = {"tests": 7, "schemas": []}
    counted = bench.count(facts, "conftest.py:5", None)
    assert (counted.number, counted.source) == (
        7,
        "all there are, since none asks for the database yet",
    )
