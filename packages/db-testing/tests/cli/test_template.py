"""`db-testing template`: templates are listed, built and dropped by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db_testing import cli
from db_testing._commands import suite

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Command

pytestmark = pytest.mark.usefixtures("measured")


def test_template_is_built_listed_and_dropped(
    project: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is built without a test, once; a part of its digest is enough to drop it."""
    code, built = command("template", "build", "--json")
    assert code == 0
    [template] = built["templates"]
    assert template["built"]
    assert template["where"] == f"{project}/conftest.py:6"
    name = template["template"]
    assert cli.main(["template", "build"]) == 0
    assert capsys.readouterr().out.startswith(f"{name}: was there\n")
    _, anew = command("template", "build", "--rebuild", "--json")
    assert [(each["template"], each["built"]) for each in anew["templates"]] == [(name, True)]
    _, listed = command("template", "list", "--json")
    [row] = [row for row in listed["templates"] if row["name"] == name]
    assert row["bytes"] > 1_000_000
    assert cli.main(["template", "list"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith(name)]
    assert line.endswith(" MB")
    digest = name.removeprefix("dbt_template_")[:16]
    assert cli.main(["template", "prune", digest]) == 0
    assert capsys.readouterr().out == f"dropped {name}\n"
    _, listed = command("template", "list", "--json")
    assert name not in {row["name"] for row in listed["templates"]}


def test_server_that_is_chosen(project: Path, command: Command) -> None:
    """`--server` goes before what pytest is always given, as it does for what needs no pytest."""
    ini = (project / "pytest.ini").read_text()
    (project / "pytest.ini").write_text(
        ini.replace("addopts = ", "addopts = --db-server=system:99 ")
    )
    code, said = command("template", "build", "--json")
    assert code == 1
    assert "PostgreSQL 99" in said["error"]
    code, built = command("template", "build", "--server=embedded", "--json")
    assert code == 0
    assert len(built["templates"]) == 1


def test_template_that_is_not_there(command: Command) -> None:
    """Nothing is dropped in its place."""
    code, said = command("template", "prune", "zzz", "--json")
    assert code == 1
    assert said["error"].startswith("db-testing: no template begins with 'zzz'. There are: ")


def test_schema_that_cannot_be_built(project: Path, command: Command) -> None:
    """The error is the schema's, with the place of the fixture."""
    (project / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture(scope='session')\ndef db_schema():\n    return 5\n"
    )
    code, said = command("template", "build", "--json")
    assert code == 1
    assert f"the schema of {project}/conftest.py:3: " in said["error"]
    assert "isinstance(5, SchemaLike)" in said["error"]


def test_tests_that_cannot_be_collected(project: Path, command: Command) -> None:
    """What pytest has said is shown, and how to see it again."""
    (project / "conftest.py").write_text("import not_there\n")
    code, said = command("template", "build", "--json")
    assert code == 1
    assert "No module named 'not_there'" in said["error"]
    assert "pytest --collect-only" in said["error"]


def test_folder_without_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """The error says where it looked."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    code, said = command("template", "build", "--json")
    assert code == 1
    assert f"pytest has collected 0 tests in {tmp_path}" in said["error"]


def test_pytest_that_hangs(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended when it has said nothing for too long, and the error says so."""
    monkeypatch.setattr(suite, "TIMEOUT", 3.0)
    (project / "conftest.py").write_text("import signal\nsignal.pause()\n")
    code, said = command("template", "build", "--json")
    assert code == 1
    assert "has said nothing for 3 s, and was killed" in said["error"]


@pytest.mark.parametrize("asked", [("template", "build"), ("bench", "--seconds=1")])
def test_module_that_cannot_be_collected(
    project: Path, command: Command, asked: tuple[str, ...]
) -> None:
    """Its tests may have a schema of their own, so that what was found is not all there is."""
    (project / "test_broken.py").write_text("import not_there\n")
    code, said = command(*asked, "--json")
    assert code == 1
    assert "tests cannot be collected:" in said["error"]
    assert "No module named 'not_there'" in said["error"]


def test_pytest_that_is_ended_by_a_fixture(project: Path, command: Command) -> None:
    """What it said before is not all: the error has the reason."""
    conftest = (project / "conftest.py").read_text()
    (project / "conftest.py").write_text(
        conftest.replace("return Schema", "pytest.exit('no vault')\n    return Schema")
    )
    code, said = command("template", "build", "--json")
    assert code == 1
    assert "before it was done" in said["error"]
    assert "no vault" in said["error"]
