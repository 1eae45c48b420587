"""`python -m db_testing run`: a program on a database of the embedded server."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url

from db_testing import cli
from db_testing._server._admin import Admin

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "DATABASE_OF_THE_PROGRAM"
PROGRAM = """
import asyncio, os, sys
import asyncpg
from db_testing._server._admin import connect_options
from sqlalchemy.engine import make_url

async def main():
    url = make_url(os.environ["DATABASE_OF_THE_PROGRAM"])
    connection = await asyncpg.connect(**connect_options(url))
    await connection.execute("CREATE TABLE IF NOT EXISTS visit (id serial)")
    await connection.execute("INSERT INTO visit DEFAULT VALUES")
    print(url.database, await connection.fetchval("SELECT count(*) FROM visit"))
    await connection.close()

asyncio.run(main())
"""


@pytest.fixture
def database(test_database_url: str) -> Iterator[str]:
    """Return a name for a database that is dropped afterwards."""
    name = f"run_{uuid.uuid4().hex}"
    yield name
    admin = Admin(make_url(test_database_url).set(database="postgres"))
    try:
        admin.run(lambda: admin.connection.execute(f"DROP DATABASE IF EXISTS {name}"))
    finally:
        admin.close()


def run(database: str, *program: str) -> subprocess.Popen[str]:
    """Start the command."""
    arguments = ["run", "--database", database, "--env", VARIABLE, "--", *program]
    return subprocess.Popen(
        [sys.executable, "-m", "db_testing", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_program_finds_its_database_and_what_it_left_there(database: str) -> None:
    """The database is made on first use and kept for the next run."""
    said = [run(database, sys.executable, "-c", PROGRAM).communicate(timeout=60) for _ in range(2)]
    assert said == [(f"{database} 1\n", ""), (f"{database} 2\n", "")]


def test_exit_code_is_the_programs(database: str) -> None:
    """Whoever calls the command learns how the program ended."""
    process = run(database, sys.executable, "-c", "raise SystemExit(7)")
    process.communicate(timeout=60)
    assert process.returncode == 7


def test_signal_is_passed_on_to_the_program(database: str) -> None:
    """Ending the command ends the program, which may finish what it is doing."""
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    process = run(database, sys.executable, "-c", program)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 9


def test_program_killed_by_a_signal_gives_the_code_that_shells_give(database: str) -> None:
    """A program that dies of a signal has not ended well."""
    command = ["run", f"--database={database}", f"--env={VARIABLE}", "--", "sh", "-c"]
    assert cli.main([*command, "kill -9 $$"]) == 137


def test_variable_that_is_set_decides(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a URL of its own the program runs there, and no database is made."""
    monkeypatch.setenv(VARIABLE, "postgresql://elsewhere.invalid/x")
    arguments = ["run", "--database", "unused", "--env", VARIABLE, "--"]
    assert cli.main([*arguments, "sh", "-c", f"echo ${VARIABLE}"]) == 0
    assert capfd.readouterr().out == "postgresql://elsewhere.invalid/x\n"


def test_program_that_is_not_there(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error is one line, not a traceback."""
    arguments = ["run", "--database", database, "--env", VARIABLE, "--", "no-such-program"]
    assert cli.main(arguments) == 127
    assert capsys.readouterr().err == (
        "db-testing: cannot run 'no-such-program': No such file or directory\n"
    )


@pytest.mark.parametrize("name", ["dbt_mine", "dbtkept_mine", "a-b", 'a"b', ""])
def test_database_name_that_cannot_be(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of test databases, and names that need quoting, are refused."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["run", "--database", name, "--env", VARIABLE, "--", "true"])
    assert exit_.value.code == 2
    assert "letters, digits and underscores" in capsys.readouterr().err


def test_server_that_cannot_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a server there is one message."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    command = ["run", "--server=embedded", "--database=x", f"--env={VARIABLE}", "--", "true"]
    assert cli.main(command) == 1
    assert capsys.readouterr().err.startswith("db-testing: no PostgreSQL")
