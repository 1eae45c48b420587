"""What `db-testing init` would write into a project, and what it leaves to its owner."""

from __future__ import annotations

import difflib
import glob
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import libcst

from .._settings import hide_password
from ..errors import InitError
from . import configuration, conftest_text, old_fixtures, project, pytest_file, sources
from .pytest_file import PytestFile
from .url_setting import OPTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .old_fixtures import OldFixture
    from .project import Project
    from .sources import Source

NOWHERE: Final = "/dev/null"
"""What a new file comes from, as diffs have it."""

HARMLESS_SCOPES: Final = {
    "asyncio_default_test_loop_scope": "function",
    "asyncio_default_fixture_loop_scope": "fixture-scope",
}
"""What stands for nothing where pytest-asyncio's loop scopes are configured."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is new, or that gets more."""

    path: Path
    before: str | None
    after: str

    def diff(self, folder: Path) -> str:
        """Return the difference as `diff -u` shows it."""
        name = os.path.relpath(self.path, folder)  # pytest's configuration may be above it
        lines = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            NOWHERE if self.before is None else name,
            name,
        )
        return "".join(line if line.endswith("\n") else line + "\n" for line in lines)

    def write(self) -> None:
        """Write it, unless somebody else has written there since it was read.

        Raises:
            InitError: so it is, or it cannot be written.
        """
        try:
            if self.before is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("x", encoding="utf-8", newline="") as file:
                    file.write(self.after)
            elif _read(self.path) != self.before:
                raise InitError(f"{self.path} has changed meanwhile. Run init again.")
            else:
                self.path.write_text(self.after, encoding="utf-8", newline="")
        except OSError as error:
            raise InitError(f"{self.path} cannot be written: {error.strerror}.") from error


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it."""

    folder: Path
    changes: Sequence[Change]
    by_hand: Sequence[OldFixture]
    notes: Sequence[str]


def make(folder: Path) -> Plan:
    """Look at a project, import nothing of it, and plan what makes its tests use db-testing.

    Raises:
        InitError: there are no tables, or a file cannot be read.
        SetupError: pytest's configuration cannot be read.
    """
    read = sources.read(folder)
    found = project.look(folder, read)
    file = pytest_file.find(folder) or _new_file(folder)
    tests = [source for source in read if source.is_test]
    by_hand = old_fixtures.find(tests)
    places = _places(folder, file, tests)
    has_schema = "db_schema" in file.values or _have_schema(places, tests)
    if not has_schema and not found.bases and found.migrations is None:
        raise InitError(
            f"there are no tables in {folder}: no class derived from SQLAlchemy's DeclarativeBase, "
            f"no declarative_base(), no MetaData, no alembic.ini ({len(read)} modules were read). "
            f"Run init in the project's folder. A schema in SQL files is named by hand: "
            f"Schema.from_sql(...) in a fixture db_schema."
        )
    changes = [_configured(file, found, tests)]
    if not has_schema:
        changes.insert(0, _conftest(_common(folder, places) / "conftest.py", found))
    return Plan(
        folder,
        [change for change in changes if change.before != change.after],
        by_hand,
        _notes(found, file, by_hand),
    )


def _new_file(folder: Path) -> PytestFile:
    toml = folder / "pyproject.toml"
    if toml.is_file():
        return PytestFile(toml, "tool.pytest.ini_options", exists=False)
    return PytestFile(folder / "pytest.ini", "pytest", exists=False)


def _places(folder: Path, file: PytestFile, tests: Sequence[Source]) -> list[Path]:
    """Return where the project's tests lie, or will lie."""
    named = file.values.get("testpaths", [])
    patterns = named if isinstance(named, list) else str(named).split()
    found = [
        file.folder / path
        for pattern in patterns
        for path in glob.iglob(pattern, root_dir=file.folder, recursive=True)  # noqa: PTH207  # takes "." too
    ]
    # Above the folder, or beside it, are those of other projects.
    places = [place for place in found if place.is_relative_to(folder)]
    places = places or [source.path for source in tests if source.path.name != "conftest.py"]
    places = places or [folder / name for name in sources.TESTS if (folder / name).is_dir()]
    return places or [folder / "tests"]


def _common(folder: Path, places: Sequence[Path]) -> Path:
    """Return the folder whose conftest.py all tests see."""
    folders = [place.parent if place.is_file() else place for place in places]
    common = Path(os.path.commonpath(folders))
    above = [each for each in (common, *common.parents) if each.is_relative_to(folder)]
    # Of tests that lie in one folder of `tests`, others may come beside it.
    return next((each for each in reversed(above[:-1]) if each.name in sources.TESTS), common)


def _have_schema(places: Sequence[Path], tests: Sequence[Source]) -> bool:
    """Tell whether each test sees a `db_schema`, perhaps one of an application of its own."""
    defining = [
        source.path for source in tests if old_fixtures.defines(source, conftest_text.FIXTURE)
    ]
    seen_from = [path.parent if path.name == "conftest.py" else path for path in defining]
    modules = [
        source.path
        for source in tests
        if source.path.name != "conftest.py" and any(map(source.path.is_relative_to, places))
    ]
    return all(any(map(each.is_relative_to, seen_from)) for each in modules or places)


def _conftest(path: Path, found: Project) -> Change:
    before = _read(path) if path.exists() else None
    try:
        return Change(path, before, conftest_text.written(found, before))
    except libcst.ParserSyntaxError as error:
        why = f"line {error.editor_line}: {error.message}"
        raise InitError(f"{path} cannot be read: {why}. Mend it, and run init again.") from error


def _configured(file: PytestFile, found: Project, tests: Sequence[Source]) -> Change:
    before = _read(file.path) if file.path.exists() else None
    settings: dict[str, Any] = {}
    if not _uses_anyio(file, tests):
        settings["asyncio_mode"] = "auto"
    if paths := _paths(file, found):
        settings["pythonpath"] = paths
    if bound := [each.dotted for each in (*found.engines, *found.sessionmakers)]:
        settings["db_bind"] = bound
    if len(found.sessionmakers) == 1:
        settings["db_session_options"] = found.sessionmakers[0].dotted
    return Change(file.path, before, configuration.written(file, before or "", settings))


def _uses_anyio(file: PytestFile, tests: Sequence[Source]) -> bool:
    return "anyio_mode" in file.values or any(
        b"mark.anyio" in source.path.read_bytes()
        for source in tests  # of whatever encoding
    )


def _paths(file: PytestFile, found: Project) -> list[str]:
    """Return from where pytest must import the application, if it is not installed."""
    roots = [root for root in found.roots if not _is_installed(root, found)]
    return [Path(os.path.relpath(root, file.folder)).as_posix() for root in roots]


def _is_installed(root: Path, found: Project) -> bool:
    """Tell whether this Python imports what lies there from wherever it is run."""
    objects = (*found.bases, *found.engines, *found.sessionmakers)
    used = [*found.models, *(each.source for each in objects)]
    top = next(source.name.partition(".")[0] for source in used if source.root == root)
    before = sys.path[:]
    sys.path[:] = [path for path in before if path and Path(path).resolve() != Path.cwd()]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    finally:
        sys.path[:] = before
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    return any(Path(place).resolve().is_relative_to(root.resolve()) for place in places if place)


def _notes(found: Project, file: PytestFile, by_hand: Sequence[OldFixture]) -> list[str]:
    notes = []
    url = None if found.migrations is None else found.migrations.url
    if url is not None and url.name is None:
        notes.append(
            f"{url.where}: the URL is taken from {hide_password(url.text)}, past Alembic's "
            f"setting: leave that out where {OPTION} is set already, or name in "
            f"Schema.from_alembic(..., url_setting=...) what it is read from"
        )
    builds = next((old for old in by_hand if old.builds), None)
    if found.migrations is not None and builds is not None:
        notes.append(
            f"{builds.where}: the tables have been made by create_all so far, and are made by the "
            f"migrations now. Where tests fail since these differ, such as in an enum's values, "
            f"so would production; Schema.from_metadata(...) leaves it as it was"
        )
    if any(each.is_synchronous for each in (*found.engines, *found.sessionmakers)):
        notes.append("synchronous engines need psycopg: pip install 'db-testing[sync]'")
    notes += [
        f"{file.path}: {name} = {file.values[name]!r} gives loops of their own to tests or "
        f"fixtures, and each of them pays for connections; remove it"
        for name, harmless in HARMLESS_SCOPES.items()
        if file.values.get(name) not in {None, "session", harmless}
    ]
    if "pythonpath" in file.values and (paths := _paths(file, found)):
        given = file.values["pythonpath"]
        here = given if isinstance(given, list) else str(given).split()
        lacking = [path for path in paths if path not in here]
        if lacking:
            notes.append(f"{file.path}: add {', '.join(lacking)} to pythonpath")
    return notes


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InitError(f"{path} cannot be read: {error}. Mend it, and run init again.") from error
