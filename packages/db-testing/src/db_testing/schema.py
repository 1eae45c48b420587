"""What an application's database must look like."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import hashlib
import io
import logging
import re
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .errors import SchemaError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import MetaData
    from sqlalchemy.engine import URL


@runtime_checkable
class SchemaLike(Protocol):
    """Anything that can say what it is and build it."""

    def fingerprint(self) -> str:
        """Return a text that changes whenever :meth:`apply` would build another database."""
        ...

    def apply(self, url: URL) -> None:
        """Build the schema in an empty database, and keep no connection to it.

        Called from a thread of its own, in which no event loop runs.
        """
        ...


class Schema(abc.ABC):
    """A schema; the static methods make the ready-made kinds."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """See :meth:`SchemaLike.fingerprint`."""

    @abc.abstractmethod
    def apply(self, url: URL) -> None:
        """See :meth:`SchemaLike.apply`."""

    @staticmethod
    def from_metadata(*metadata: MetaData) -> Schema:
        """Build what SQLAlchemy's `create_all` builds, named schemas included."""
        return _Metadata(metadata)

    @staticmethod
    def from_alembic(ini: str | os.PathLike[str]) -> Schema:
        """Run every migration of an `alembic.ini`, up to all heads.

        A relative path starts at the current directory, or at the nearest folder above it in which
        the file exists. The migrations' `env.py` must take the URL from
        `config.get_main_option("sqlalchemy.url")`.

        Raises:
            SchemaError: there is no such file.
        """
        return _Alembic(_find(Path(ini)))


class _Metadata(Schema):
    def __init__(self, metadata: tuple[MetaData, ...]) -> None:
        self._metadata = metadata

    def __repr__(self) -> str:
        tables = sum(len(metadata.tables) for metadata in self._metadata)
        return f"Schema.from_metadata(...)  # {tables} tables"

    def fingerprint(self) -> str:
        from sqlalchemy.dialects.postgresql.asyncpg import dialect

        rendered = []
        postgresql = dialect()
        for metadata in self._metadata:
            for statement, parameters in _recorded(metadata):
                compiled = statement.compile(dialect=postgresql)
                rendered.append(f"{compiled} {compiled.params or ''} {parameters or ''}")
        # Where an object lies in memory is no part of what it says.
        return re.sub(r" at 0x[0-9a-f]+", "", "\n".join(rendered))

    def apply(self, url: URL) -> None:
        asyncio.run(self._create_all(url))

    async def _create_all(self, url: URL) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool
        from sqlalchemy.schema import CreateSchema

        engine = create_async_engine(url, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                for metadata in self._metadata:
                    for name in _schemas_of(metadata):
                        await connection.execute(CreateSchema(name, if_not_exists=True))
                    await connection.run_sync(metadata.create_all)
        finally:
            await engine.dispose()


def _recorded(metadata: MetaData) -> list[tuple[Any, Any]]:
    """Return what `create_all` would execute, event listeners included, with its parameters."""
    from sqlalchemy.dialects.postgresql.asyncpg import dialect
    from sqlalchemy.engine.mock import MockConnection
    from sqlalchemy.sql import text

    recorded: list[tuple[Any, Any]] = []

    def record(statement: Any, parameters: Any = None) -> None:
        recorded.append((statement, parameters))

    class Recorder(MockConnection):
        def exec_driver_sql(self, statement: str, parameters: Any = None) -> None:
            record(text(statement.replace(":", r"\:")), parameters)

    metadata.create_all(Recorder(dialect(), record), checkfirst=False)
    return recorded


def _schemas_of(metadata: MetaData) -> list[str]:
    """Return the named schemas that tables, enums and sequences lie in."""
    elements = (getattr(statement, "element", None) for statement, _ in _recorded(metadata))
    names = (getattr(element, "schema", None) for element in elements)
    return sorted({name for name in names if name})


class _Alembic(Schema):
    def __init__(self, ini: Path) -> None:
        self._ini = ini

    def __repr__(self) -> str:
        return f"Schema.from_alembic({str(self._ini)!r})"

    def fingerprint(self) -> str:
        _, script = self._open()
        digest = hashlib.sha256(self._ini.read_bytes())
        for folder in _folders_of(script):
            for path in sorted(folder.rglob("*")):
                place = path.relative_to(folder)
                if path.is_file() and not _is_irrelevant(place):
                    digest.update(bytes(place) + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()

    def apply(self, url: URL) -> None:
        config, script = self._open()
        # A config parser reads % as interpolation.
        text = url.render_as_string(hide_password=False).replace("%", "%%")
        config.set_main_option("sqlalchemy.url", text)
        with _logging_untouched():
            try:
                if not self._upgrade_asynchronously(config):
                    asyncio.run(self._upgrade_synchronously(config, url))
            except Exception as error:
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
        # Not to standard output: its progress would stand between the tests' results.
        config = Config(self._ini, stdout=io.StringIO())
        return config, ScriptDirectory.from_config(config)

    async def _check_applied(self, url: URL) -> None:
        import asyncpg

        from ._admin import connect_options

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


def _folders_of(script: ScriptDirectory) -> list[Path]:
    """Return the folder of env.py and those of migrations, none of them within another."""
    places: tuple[str | Path, ...] = (script.dir, *script._version_locations)  # noqa: SLF001
    folders = {Path(place).resolve() for place in places}
    return sorted(folder for folder in folders if folders.isdisjoint(folder.parents))


def _is_irrelevant(path: Path) -> bool:
    """Tell what no migration can depend on: caches, hidden files, templates of new migrations."""
    return (
        path.suffix in {".pyc", ".mako"}
        or path.stem == "README"
        or any(part.startswith(".") for part in path.parts)
    )


def _place_of(error: BaseException, script: ScriptDirectory) -> str:
    """Say in which line of the migrations an error was raised."""
    folders = _folders_of(script)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(Path(frame.filename).is_relative_to(folder) for folder in folders):
            return f" in {frame.filename}, line {frame.lineno}"
    return ""


@contextlib.contextmanager
def _logging_untouched() -> Iterator[None]:
    """Undo what the usual env.py does to the application's loggers: `fileConfig` disables them.

    Tests that look at logs would pass or fail by whether the template was there already.
    """
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in root.manager.loggerDict]
    before = [
        (one, one.disabled, one.level, one.propagate, one.handlers[:]) for one in (root, *loggers)
    ]
    try:
        yield
    finally:
        for one, disabled, level, propagate, handlers in before:
            one.disabled, one.propagate, one.handlers = disabled, propagate, handlers
            one.setLevel(level)


def _find(ini: Path) -> Path:
    folders = [Path(), *Path.cwd().parents] if not ini.is_absolute() else [Path()]
    for folder in folders:
        if (folder / ini).is_file():
            return (folder / ini).resolve()
    raise SchemaError(
        f"Schema.from_alembic({str(ini)!r}): there is no such file in {Path.cwd()} or a folder "
        f"above it. Give an absolute path, such as Path(__file__).parents[1] / 'alembic.ini'."
    )
