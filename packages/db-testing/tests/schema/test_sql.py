"""Schema.from_sql: files, folders, what pg_dump has written, and everything that can be wrong."""

from __future__ import annotations

import asyncio
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING

import asyncpg
import pytest

from db_testing._schema import _sql_files
from db_testing._server._admin import connect_options, libpq_url
from db_testing._server._binaries import Binaries
from db_testing.errors import SchemaError, ServerError
from db_testing.schema import Schema

from .conftest import tables_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.engine import URL

FUNCTION = """
CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RETURN 2 * n;  -- a semicolon; and 'quotes'
END
$$;
"""


def fetch(url: URL, sql: str) -> list[tuple[object, ...]]:
    """Ask a database something."""

    async def ask() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(**connect_options(url))
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three files, whose order matters."""
    (tmp_path / "10_tables.sql").write_text(
        "CREATE TABLE city (id integer PRIMARY KEY, name text);"
    )
    (tmp_path / "20_functions.sql").write_text(FUNCTION)
    (tmp_path / "30_rows.sql").write_text("INSERT INTO city VALUES (twice(2), 'Bern; CH');")
    (tmp_path / "README.md").write_text("no SQL")
    return tmp_path


def test_folder_is_run_in_the_order_of_names(folder: Path, empty: URL) -> None:
    """Functions, semicolons in strings and whatever else psql understands."""
    Schema.from_sql(folder).apply(empty)
    assert fetch(empty, "SELECT * FROM city") == [(4, "Bern; CH")]


def test_files_are_run_in_the_order_given(
    folder: Path, empty: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative names are looked for upwards."""
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    Schema.from_sql("20_functions.sql", "10_tables.sql").apply(empty)
    assert tables_of(empty) == ["public.city"]
    assert fetch(empty, "SELECT twice(21)") == [(42,)]


@pytest.mark.since(17)  # what the wheel's pg_dump writes cannot be read by an older server
def test_what_pg_dump_writes(
    folder: Path, clone: Callable[[str], URL], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Rows by COPY, sequences and psql's own commands included."""
    first = clone("template0")
    more = (
        "CREATE TABLE t (id serial PRIMARY KEY, x jsonb); INSERT INTO t (x) VALUES ('{\"a\": 1}');"
    )
    (folder / "40_more.sql").write_text(more)
    Schema.from_sql(folder).apply(first)
    dump = _sql_files._psql(encrypts=False).replace("psql", "pg_dump")
    asked = subprocess.run([dump, libpq_url(first)], capture_output=True, check=True, text=True)
    assert "COPY public.city" in asked.stdout
    path = tmp_path_factory.mktemp("dump") / "dump.sql"
    path.write_text(asked.stdout)
    second = clone("template0")
    Schema.from_sql(path).apply(second)
    assert fetch(second, "SELECT * FROM city") == [(4, "Bern; CH")]
    assert fetch(second, "INSERT INTO t DEFAULT VALUES RETURNING id") == [(2,)]


def test_files_after_a_dump(tmp_path: Path, empty: URL) -> None:
    """What pg_dump sets for its own statements is not for the next file; what others set, is."""
    begins = "SELECT pg_catalog.set_config('search_path', '', false);\n"
    (tmp_path / "1.sql").write_text(f"{begins}CREATE TABLE public.city (id integer);")
    (tmp_path / "2.sql").write_text("INSERT INTO city VALUES (1); SET search_path = pg_temp;")
    (tmp_path / "3.sql").write_text("CREATE TABLE own (id integer);")
    Schema.from_sql(tmp_path).apply(empty)
    assert fetch(empty, "SELECT * FROM city") == [(1,)]
    assert tables_of(empty) == ["public.city"]


def test_error_names_file_and_line(folder: Path, empty: URL) -> None:
    """It is the server's, and nothing after it is run."""
    wrong = folder / "15_wrong.sql"
    wrong.write_text("SELECT 1;\nSELECT wrong;\n")
    with pytest.raises(SchemaError) as caught:
        Schema.from_sql(folder).apply(empty)
    assert f"{wrong}:2: ERROR:  column" in str(caught.value)
    assert fetch(empty, "SELECT count(*) FROM pg_proc WHERE proname = 'twice'") == [(0,)]


def test_owner_that_does_not_exist(folder: Path, empty: URL) -> None:
    """A dump of another server's names its roles; the error says how to leave them out."""
    (folder / "15_owner.sql").write_text("ALTER TABLE city OWNER TO somebody_else;")
    with pytest.raises(SchemaError, match=r"does not exist.* Dump with --no-owner"):
        Schema.from_sql(folder).apply(empty)


@pytest.mark.parametrize("command", ["\\connect app", "  \\c app"])
def test_script_that_leads_elsewhere_is_refused(folder: Path, empty: URL, command: str) -> None:
    """Nothing of it is run, as it would be in another database."""
    path = folder / "15_elsewhere.sql"
    path.write_text(f"SELECT 1;\n\n{command}\nDROP TABLE everything;\n")
    with pytest.raises(SchemaError, match=r"15_elsewhere.sql, line 3: .* leads away"):
        Schema.from_sql(folder).apply(empty)
    assert tables_of(empty) == []


@pytest.mark.parametrize("include", ["\\ir parts/dump.txt", "\\i {}/parts/more.txt"])
def test_included_script_that_leads_elsewhere_is_refused(
    folder: Path, empty: URL, include: str
) -> None:
    """Also in what an included file includes; the error says in which of them."""
    (folder / "parts").mkdir()
    (folder / "parts" / "more.txt").write_text("\\ir dump.txt\n")
    (folder / "parts" / "dump.txt").write_text("SELECT 1;\n\\connect victim\n")
    (folder / "15_more.sql").write_text(f"{include.format(folder)}\n")
    with pytest.raises(SchemaError, match=r"parts/dump.txt, line 2: '\\\\connect victim' leads"):
        Schema.from_sql(folder).apply(empty)
    assert tables_of(empty) == []


def test_copied_rows_lead_nowhere(folder: Path, empty: URL) -> None:
    """They are no commands, whatever they look like."""
    rows = folder / "rows.csv"
    rows.write_text("\\c is a cedilla\n")
    (folder / "40_copied.sql").write_text(
        f"CREATE TABLE sign (name text);\n\\copy sign from '{rows}' with (format csv)\n"
    )
    Schema.from_sql(folder).apply(empty)
    assert "public.sign" in tables_of(empty)


def test_fingerprint_follows_the_files(folder: Path) -> None:
    """Contents, names, order and included files count; other files and places do not."""
    prints = [Schema.from_sql(folder).fingerprint()]
    (folder / "README.md").write_text("changed")
    assert Schema.from_sql(folder).fingerprint() == prints[0]
    tables = folder / "10_tables.sql"
    tables.write_text(tables.read_text() + "-- changed\n\\ir parts/more.txt\n")
    prints.append(Schema.from_sql(folder).fingerprint())
    (folder / "parts").mkdir()
    more = folder / "parts" / "more.txt"
    for text in ("SELECT 1;", "SELECT 2;"):
        more.write_text(text)
        prints.append(Schema.from_sql(folder).fingerprint())
    (folder / "30_rows.sql").rename(folder / "05_rows.sql")
    prints.append(Schema.from_sql(folder).fingerprint())
    one, two = folder / "10_tables.sql", folder / "20_functions.sql"
    prints += [Schema.from_sql(*paths).fingerprint() for paths in ((one, two), (two, one))]
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize(
    "command",
    [
        "SELECT 1; \\ir 'roles.txt'",
        "\\ir empty.txt \\ir roles.txt \\\\ SELECT 1;",
        "\\i empty.txt\n\\i roles.txt",
        "\\copy role (id) from 'roles.txt' csv header",
        "  \\COPY from_a FROM roles.txt",
        "\\copy role from 'it''s roles.txt';",
        "\\ir reads.txt",
    ],
)
def test_fingerprint_follows_what_files_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Also behind a statement on its line, and rows that psql copies from a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1.sql").write_text(f"{command}\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "reads.txt").write_text("\\copy role from 'roles.txt'")
    prints = [Schema.from_sql("1.sql").fingerprint()]
    for text in ("1", "2"):
        for name in ("roles.txt", "it's roles.txt"):
            (tmp_path / name).write_text(text)
        prints.append(Schema.from_sql("1.sql").fingerprint())
    assert len(set(prints)) == len(prints)


def test_files_are_read_once(folder: Path, empty: URL, read: list[str]) -> None:
    """For a fingerprint, and to build the schema, however much is looked for in them."""
    (folder / "20_functions.sql").write_text("\\ir rows/cities.sql")
    (folder / "30_rows.sql").write_text(f"\\copy city FROM '{folder}/rows/cities.txt'")
    (folder / "rows").mkdir()
    (folder / "rows" / "cities.sql").write_text(FUNCTION)
    (folder / "rows" / "cities.txt").write_text("4\tBern\n")
    schema = Schema.from_sql(folder)
    schema.fingerprint()
    scripts = ["10_tables.sql", "20_functions.sql", "30_rows.sql", "cities.sql"]
    assert sorted(read) == [*scripts, "cities.txt"]
    read.clear()
    schema.apply(empty)
    assert sorted(read) == scripts


def test_row_that_looks_like_a_command(tmp_path: Path) -> None:
    """What is in a dump's rows may be no name of a file."""
    path = tmp_path / "1.sql"
    path.write_text(f"COPY t FROM stdin;\nC:\\i {'x' * 9999}\n\\copy t from '\x00'\n\\.\n")
    assert Schema.from_sql(path).fingerprint()


def test_circle_of_includes_has_an_end(folder: Path) -> None:
    """A file that includes itself is psql's to refuse."""
    (folder / "10_tables.sql").write_text("\\ir 10_tables.sql\n")
    assert Schema.from_sql(folder).fingerprint()


def test_missing_files_are_one_error(tmp_path: Path) -> None:
    """The error says where they were looked for."""
    with pytest.raises(SchemaError, match=r"from_sql\('nowhere.sql'\): there is no such file or"):
        Schema.from_sql("nowhere.sql")
    with pytest.raises(SchemaError, match=r"there is no \*.sql in "):
        Schema.from_sql(tmp_path).fingerprint()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Return the commands that are run from now on, with their environments; none really is."""
    seen: list[tuple[list[str], dict[str, str]]] = []

    def look(command: list[str], *, env: dict[str, str], **_: object) -> object:
        seen.append((command, env))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", look)
    monkeypatch.setattr(_sql_files, "_psql", lambda **_: "psql")
    return seen


def test_password_is_on_no_command_line(
    folder: Path, empty: URL, seen: list[tuple[list[str], dict[str, str]]]
) -> None:
    """Every user of the machine can read those."""
    Schema.from_sql(folder).apply(empty.set(password="s3cret", query={"ssl": "require"}))
    command, environment = seen[0]
    assert "s3cret" not in str(command)
    assert "sslmode=require" in str(command)
    assert environment["PGPASSWORD"] == "s3cret"


def test_environment_of_psql(
    folder: Path,
    empty: URL,
    seen: list[tuple[list[str], dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By what asyncpg connects, psql does; it goes nowhere else, sets nothing, and never asks."""
    connecting = {
        "PGPASSWORD": "s3cret",
        "PGPORT": "6543",
        "PGPASSFILE": "/p",
        "PGSSLMODE": "allow",
    }
    wrong = ("PGSERVICE", "PGHOSTADDR", "PGOPTIONS", "PGTZ", "PG_COLOR", "PGCHANNELBINDING")
    for name in (*connecting, *wrong):
        monkeypatch.setenv(name, connecting.get(name, "wrong"))
    Schema.from_sql(folder).apply(empty.set(password=""))
    command, environment = seen[0]
    assert {name: environment[name] for name in environment if name.startswith("PG")} == connecting
    assert "--no-password" in command


def test_environment_leads_nowhere_else(
    folder: Path, empty: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the URL says goes before the variables by which others are reached."""
    for name, value in {"PGHOST": "production", "PGPORT": "1", "PGUSER": "me"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGOPTIONS", "-c search_path=pg_temp")
    Schema.from_sql(folder).apply(empty)
    assert tables_of(empty) == ["public.city"]


def test_wheel_has_no_psql_for_tls(
    folder: Path, empty: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has none either, the error says what to install."""

    def find(server: str) -> Binaries:
        if server == "system":
            message = "none is installed"
            raise ServerError(message)
        return Binaries.find(server)

    monkeypatch.setattr(_sql_files, "Binaries", SimpleNamespace(find=find))
    with pytest.raises(SchemaError, match="Install PostgreSQL's client programs: the wheel's"):
        Schema.from_sql(folder).apply(empty.update_query_dict({"ssl": "require"}))
