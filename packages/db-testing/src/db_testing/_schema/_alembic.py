"""Schemas that Alembic's migrations build, and the templates on the way to them.

A template is known by the files that it was built from. So where there is none yet, those without
the last migration are looked for, without the last two, and so on: of 301 migrations, 300 of which
have been run before, one is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import logging
import os
import tomllib
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SchemaError
from ._alembic_folders import Folders, look_beside, plain
from ._alembic_url import led_to
from ._imports import Imports

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy.engine import URL


class Migrations:
    """All migrations of an `alembic.ini`, up to every head."""

    def __init__(self, ini: Path, url_setting: str | None = None) -> None:
        self._ini = ini
        self._url_setting = url_setting
        self._toml = _pyproject(ini)
        """The pyproject.toml in which settings of Alembic's stand, beside the ini file or alone."""
        self._digested: _Digests | None = None
        """What the last fingerprint was made of."""

    def __repr__(self) -> str:
        return f"Schema.from_alembic({str(self._ini)!r})"

    def fingerprint(self) -> str:
        self._digested = self._digests()
        return self._digested.fingerprint()

    def _digests(self) -> _Digests:
        settings = b"" if self._ini == self._toml else self._ini.read_bytes()
        if self._toml is not None:
            settings += json.dumps(_settings_in(self._toml), sort_keys=True).encode()
        folders = plain(self._ini) if self._toml is None else None
        contents = _Contents(folders or Folders.of(self._open()[1]))
        return _Digests(settings, dict(contents.digests()))

    def ancestors(self) -> list[str]:
        """Return the fingerprints from before the last migration, from before the last two, etc.

        What has a migration's name, such as SQL that it reads, came with it. Files are as the
        fingerprint has found them, if there has been one.
        """
        _, script = self._open()
        contents = _Contents(Folders.of(script))
        # Each before those that it depends on.
        migrations = [contents.place(Path(each.path).resolve()) for each in script.walk_revisions()]
        digests = self._digested or self._digests()
        missing, found = set[str](), []
        belongs = _owners(digests.files, migrations)
        for migration in migrations:
            missing.add(migration)
            without = {place for place, owners in belongs.items() if owners <= missing}
            found.append(digests.fingerprint(without=without))
        return found[:-1]  # without any, there is nothing to go on from

    @contextlib.contextmanager
    def configured(self, url: URL) -> Iterator[Config]:
        """Lead all that uses the configuration to a database, and keep it from others."""
        config, script = self._open()
        if not (Path(script.dir) / "env.py").read_text(encoding="utf-8").count("async"):
            from .._server._admin import url_for

            url = url_for("psycopg", url)
        config.set_main_option("sqlalchemy.url", _in_config(url))
        with _logging_untouched(), _old_style(), led_to(url, self._url_setting):
            yield config

    def apply(self, url: URL) -> None:
        config, script = self._open()
        config.set_main_option("sqlalchemy.url", _in_config(url))
        with _logging_untouched(), _old_style(), led_to(url, self._url_setting):
            try:
                if not self._upgrade_asynchronously(config):
                    asyncio.run(self._upgrade_synchronously(config, url))
            except SchemaError:
                raise
            except Exception as error:
                if (said := _said_before(error)) is not None:
                    raise said from error
                raise SchemaError(
                    f"{self!r} failed{_place_of(error, script)}: {type(error).__name__}: {error}"
                ) from error
        if script.get_heads():
            asyncio.run(self._check_applied(url))

    @staticmethod
    def _upgrade(config: Config) -> None:
        from alembic import command

        command.upgrade(config, "heads")

    def _upgrade_asynchronously(self, config: Config) -> bool:
        """Run the migrations, unless env.py is synchronous and so meets the wrong driver."""
        from sqlalchemy.exc import MissingGreenlet

        with warnings.catch_warnings():
            # What a synchronous env.py began is dropped as soon as the frames that hold it are.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            try:
                self._upgrade(config)
            except MissingGreenlet as error:
                traceback.clear_frames(error.__traceback__)
                return False
        return True

    async def _upgrade_synchronously(self, config: Config, url: URL) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        engine = create_async_engine(url, poolclass=NullPool)
        async with engine.connect() as connection:
            # Inside, SQLAlchemy's synchronous engines can drive the asynchronous driver.
            await connection.run_sync(lambda _: self._upgrade(config))

    def _open(self) -> tuple[Config, ScriptDirectory]:
        try:
            from alembic.config import Config
            from alembic.script import ScriptDirectory
        except ImportError as error:
            raise SchemaError(
                f"{self!r} needs Alembic, which is not installed. Install db-testing[alembic]."
            ) from error
        ini = None if self._ini == self._toml else self._ini
        options: dict[str, Any] = {} if self._toml is None else {"toml_file": self._toml}
        # Not to standard output: its progress would stand between the tests' results.
        try:
            config = Config(ini, stdout=io.StringIO(), **options)
        except TypeError:
            raise SchemaError(
                f"{self!r} with settings in {self._toml} needs Alembic 1.16."
            ) from None
        toml: dict[str, Any] = getattr(config, "toml_alembic_config", {})  # since Alembic 1.16
        look_beside(config.file_config, config.config_ini_section, toml, self._ini.parent)
        with _old_style():
            return config, ScriptDirectory.from_config(config)

    async def _check_applied(self, url: URL) -> None:
        import asyncpg

        from .._server._admin import connect_options

        connection = await asyncpg.connect(**connect_options(url))
        try:
            tables = await connection.fetchval(
                "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN"
                " ('pg_catalog', 'information_schema')"
            )
        finally:
            await connection.close()
        if not tables:
            raise SchemaError(
                f"{self!r} ran, but left the test database empty: its env.py connects somewhere "
                f'else. It must use config.get_main_option("sqlalchemy.url").'
            )


def _in_config(url: URL) -> str:
    """Return a URL as the value of an option; a config parser reads % as interpolation."""
    return url.render_as_string(hide_password=False).replace("%", "%%")


def _settings_in(toml: Path) -> dict[str, Any] | None:
    """Return what a pyproject.toml says to Alembic."""
    found: dict[str, Any] | None = None
    if toml.is_file():
        found = tomllib.loads(toml.read_text(encoding="utf-8")).get("tool", {}).get("alembic")
    return found


def _pyproject(ini: Path) -> Path | None:
    """Return the pyproject.toml that Alembic reads besides an ini file, or in place of one."""
    toml = ini.with_name("pyproject.toml")
    if _settings_in(toml) is not None:
        return toml
    if ini == toml:
        raise SchemaError(f"Schema.from_alembic({str(ini)!r}): there is no [tool.alembic] in it.")
    return None


@dataclass(frozen=True)
class _Digests:
    """What migrations may depend on."""

    settings: bytes
    files: dict[str, bytes]
    """The digests of files, by their places."""

    def fingerprint(self, *, without: Collection[str] = ()) -> str:
        digest = hashlib.sha256(self.settings)
        for place, content in self.files.items():
            if place not in without:
                digest.update(os.fsencode(place) + b"\0" + content)
        return digest.hexdigest()


class _Contents:
    """Files of migrations, known by where they lie to each other, wherever the checkout does."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._imports = Imports()
        self._imported: dict[Path, bytes] = {}
        self._reached: dict[frozenset[Path], bytes] = {}

    def place(self, path: Path) -> str:
        return os.path.relpath(path, self._folders.own)

    def digests(self) -> Iterator[tuple[str, bytes]]:
        """Return the place and the digest of each file, that of a migration with what it imports.

        What env.py imports is left out: all models, which shape no table by themselves.
        """
        for outermost in self._folders.outermost:
            for folder, within, names in os.walk(outermost):
                within[:] = sorted(name for name in within if not name.startswith("."))
                here = Path(folder)
                place = "" if here == self._folders.own else f"{self.place(here)}/"
                migrations = not self._folders.versions.isdisjoint((here, *here.parents))
                for name in sorted(names):
                    path = here / name
                    if not _is_irrelevant(name) and path.is_file():
                        content = path.read_bytes()
                        digest = hashlib.sha256(content)
                        if migrations and name.endswith(".py"):
                            digest.update(self._brought_by(path, content))
                        yield f"{place}{name}", digest.digest()

    def _brought_by(self, migration: Path, content: bytes) -> bytes:
        imported = self._imports.imported_by(migration, content) - {migration}
        if imported not in self._reached:  # most migrations import the same
            files = self._imports.reached(imported)
            self._reached[imported] = b"".join(sorted(map(self._content, files)))
        return self._reached[imported]

    def _content(self, path: Path) -> bytes:
        if path not in self._imported:
            content = hashlib.sha256(path.read_bytes()).digest()
            self._imported[path] = os.fsencode(self.place(path)) + b"\0" + content
        return self._imported[path]


def _owners(places: Iterable[str], migrations: Iterable[str]) -> dict[str, set[str]]:
    """Return the migrations that files belong to, if they are such or have the name of some."""
    named: dict[str, set[str]] = {}
    for migration in migrations:
        named.setdefault(Path(migration).stem, set()).add(migration)
    known = set().union(*named.values())
    return {
        place: {place} if place in known else named[stem]
        for place in places
        if (stem := Path(place).stem) in named
    }


def _is_irrelevant(name: str) -> bool:
    """Tell what no migration can depend on: caches, hidden files, templates of new migrations."""
    return name.startswith((".", "README.")) or name == "README" or name.endswith((".pyc", ".mako"))


def _place_of(error: BaseException, script: ScriptDirectory) -> str:
    """Say in which line of the migrations an error was raised."""
    folders = Folders.of(script).outermost
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(Path(frame.filename).is_relative_to(folder) for folder in folders):
            return f" in {frame.filename}, line {frame.lineno}"
    return ""


def _said_before(error: BaseException) -> SchemaError | None:
    """Return what Alembic has covered with an error of its own as it ended."""
    before = error.__context__
    while before is not None and not isinstance(before, SchemaError):
        before = before.__context__
    return before


@contextlib.contextmanager
def _old_style() -> Iterator[None]:
    """Let an ini file be as Alembic wrote it before 1.16, also where warnings are errors.

    Outside pytest nobody sees that warning, which most projects would get.
    """
    with warnings.catch_warnings():
        words = "No path_separator found|The version_path_separator configuration"
        warnings.filterwarnings("ignore", words, DeprecationWarning)
        yield


@contextlib.contextmanager
def _logging_untouched() -> Iterator[None]:
    """Undo what the usual env.py does to the application's loggers: `fileConfig` disables them.

    Tests that look at logs would pass or fail by whether the template was there already. It also
    shuts down every handler that it knows of: a file that is written anew stays closed for ever.
    """
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in root.manager.loggerDict]
    before = [
        (one, one.disabled, one.level, one.propagate, one.handlers[:]) for one in (root, *loggers)
    ]
    handlers, names = vars(logging)["_handlerList"], vars(logging)["_handlers"]
    hidden = [*handlers], dict(names)
    handlers.clear()
    names.clear()
    try:
        yield
    finally:
        handlers[:0] = hidden[0]
        names.update(hidden[1])
        for one, disabled, level, propagate, its_handlers in before:
            one.disabled, one.propagate, one.handlers = disabled, propagate, its_handlers
            one.setLevel(level)
