"""What an application's database must look like."""

from __future__ import annotations

import abc
import asyncio
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .errors import SchemaError

if TYPE_CHECKING:
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
        from sqlalchemy import create_mock_engine  # costs a worker 40 ms otherwise

        statements: list[str] = []

        def note(statement: Any, *_: Any, **__: Any) -> None:
            statements.append(str(statement.compile(dialect=engine.dialect)))

        engine = create_mock_engine("postgresql+asyncpg://", note)
        for metadata in self._metadata:
            statements += sorted(_schemas_of(metadata))
            metadata.create_all(engine, checkfirst=False)
        return "\n".join(statements)

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
                    for name in sorted(_schemas_of(metadata)):
                        await connection.execute(CreateSchema(name, if_not_exists=True))
                    await connection.run_sync(metadata.create_all)
        finally:
            await engine.dispose()


def _schemas_of(metadata: MetaData) -> set[str]:
    return {table.schema for table in metadata.tables.values() if table.schema}


class _Alembic(Schema):
    def __init__(self, ini: Path) -> None:
        self._ini = ini

    def __repr__(self) -> str:
        return f"Schema.from_alembic({str(self._ini)!r})"

    def fingerprint(self) -> str:
        from alembic.script import ScriptDirectory  # an optional dependency

        script = ScriptDirectory.from_config(self._config())
        folders = {Path(script.dir), *map(Path, script._version_locations)}  # noqa: SLF001
        files = {path for folder in folders for path in folder.rglob("*.py")}
        files |= {path for folder in folders for path in folder.rglob("*.sql")}
        digest = hashlib.sha256(self._ini.read_bytes())
        for path in sorted(files):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()

    def apply(self, url: URL) -> None:
        from alembic import command

        config = self._config()
        # A config parser reads % as interpolation.
        text = url.render_as_string(hide_password=False).replace("%", "%%")
        config.set_main_option("sqlalchemy.url", text)
        command.upgrade(config, "heads")
        asyncio.run(self._check_applied(url))

    def _config(self) -> Any:
        try:
            from alembic.config import Config
        except ImportError as error:
            raise SchemaError(
                f"{self!r} needs Alembic, which is not installed. Install db-testing[alembic]."
            ) from error
        # Without standard output: its progress would stand between the tests' results.
        return Config(self._ini, stdout=Path(os.devnull).open("w"))

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


def _find(ini: Path) -> Path:
    folders = [Path(), *Path.cwd().parents] if not ini.is_absolute() else [Path()]
    for folder in folders:
        if (folder / ini).is_file():
            return (folder / ini).resolve()
    raise SchemaError(
        f"Schema.from_alembic({str(ini)!r}): there is no such file in {Path.cwd()} or a folder "
        f"above it. Give an absolute path, such as Path(__file__).parents[1] / 'alembic.ini'."
    )
