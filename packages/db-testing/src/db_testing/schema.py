"""What an application's database must look like."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from .errors import SchemaError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from sqlalchemy import MetaData
    from sqlalchemy.engine import URL

    from ._schema._seed import SeedFunction


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


class Schema:
    """Extensions, then tables and whatever else there is, then rows that every test begins with."""

    def __init__(
        self,
        built: SchemaLike,
        *,
        extensions: Iterable[str] = (),
        seed: SeedFunction | None = None,
    ) -> None:
        """Add to a schema what comes before it and after it; see the static methods."""
        self._built = built
        self._extensions = (extensions,) if isinstance(extensions, str) else tuple(extensions)
        self._seed = seed

    def __repr__(self) -> str:
        return repr(self._built)

    @staticmethod
    def from_metadata(
        *metadata: MetaData, extensions: Iterable[str] = (), seed: SeedFunction | None = None
    ) -> Schema:
        """Build what SQLAlchemy's `create_all` builds, named schemas included.

        `extensions` are made before, if they are not there. `seed` is called once with a session,
        an `AsyncSession` if it is a coroutine function; what it has written is committed, and all
        tests begin with it.
        """
        from ._schema._metadata import Metadata

        return Schema(Metadata(metadata), extensions=extensions, seed=seed)

    @staticmethod
    def from_alembic(
        ini: str | os.PathLike[str],
        *,
        url_setting: str | None = None,
        extensions: Iterable[str] = (),
        seed: SeedFunction | None = None,
    ) -> Schema:
        """Run every migration of an `alembic.ini`, or of a `pyproject.toml`, up to all heads.

        A relative path starts at the current directory, or at the nearest folder above it in which
        the file exists. The migrations' `env.py` takes the URL from
        `config.get_main_option("sqlalchemy.url")`; else `url_setting` names what it reads, as
        `"package.module:settings.database_url"`, `"package.module:get_settings().database_url"` of
        a function that returns the same object each time, or `"os:environ.DATABASE_URL"`, which is
        the test database's URL while migrations run. It is kept from every other database.
        `extensions` and `seed` are as in :meth:`from_metadata`.

        Raises:
            SchemaError: there is no such file.
        """
        from ._schema._alembic import Migrations

        path = find(ini, "from_alembic", "file")
        return Schema(Migrations(path, url_setting), extensions=extensions, seed=seed)

    @staticmethod
    def from_sql(
        *paths: str | os.PathLike[str],
        extensions: Iterable[str] = (),
        seed: SeedFunction | None = None,
    ) -> Schema:
        """Run SQL files with psql, in this order; of a folder its `*.sql`, in the order of names.

        They may be what `pg_dump --no-owner --no-privileges` has written. Relative paths are as in
        :meth:`from_alembic`, `extensions` and `seed` as in :meth:`from_metadata`.

        Raises:
            SchemaError: there is no such file or folder, or no `*.sql` in it.
        """
        from ._schema._sql_files import Scripts

        found = [find(path, "from_sql", "file or folder") for path in paths]
        return Schema(Scripts(found), extensions=extensions, seed=seed)

    def fingerprint(self) -> str:
        """See :meth:`SchemaLike.fingerprint`."""
        parts = [self._built.fingerprint()]
        if self._extensions:
            parts.append(f"extensions {self._extensions}")
        if self._seed is not None:
            from ._schema import _seed

            parts.append(f"seed {_seed.fingerprint(self._seed)}")
        return _joined(parts)

    def apply(self, url: URL) -> None:
        """See :meth:`SchemaLike.apply`."""
        if self._extensions:
            asyncio.run(_create_extensions(url, self._extensions))
        self._built.apply(url)
        self.finish(url)

    # ----------------------------------------------------------------- for templates on the way

    @property
    def base(self) -> Schema | None:
        """What has a template of its own, to which :meth:`finish` adds the rest."""
        if self._seed is None:
            return None
        return Schema(self._built, extensions=self._extensions)

    def finish(self, url: URL) -> None:
        """Add to a database of :attr:`base` what is left."""
        if self._seed is not None:
            from ._schema import _seed

            _seed.apply(self._seed, url)

    def ancestors(self) -> Sequence[str]:
        """Return the fingerprints of schemas that :meth:`apply` can go on from, best first."""
        if self._seed is not None or not hasattr(self._built, "ancestors"):
            return []
        extensions = [f"extensions {self._extensions}"] if self._extensions else []
        return [_joined([each, *extensions]) for each in self._built.ancestors()]


_AVAILABLE: Final = "SELECT string_agg(name, ', ' ORDER BY name) FROM pg_available_extensions"


def _joined(parts: Sequence[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    digests = [hashlib.sha256(part.encode()).hexdigest() for part in parts]
    return "\n".join(digests)


async def _create_extensions(url: URL, names: Iterable[str]) -> None:
    import asyncpg

    from ._server._admin import connect_options, first_line

    connection = await asyncpg.connect(**connect_options(url))
    try:
        for name in names:
            quoted = name.replace('"', '""')
            try:
                await connection.execute(f'CREATE EXTENSION IF NOT EXISTS "{quoted}" CASCADE')
            except (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFileError) as error:
                known = await connection.fetchval(_AVAILABLE)
                raise SchemaError(
                    f"the extension {name!r} is not installed on the server ({first_line(error)}). "
                    f"It has {known}. Install the package that brings it, or use a server that has "
                    f"it (--db-server)."
                ) from error
            except asyncpg.InsufficientPrivilegeError as error:
                raise SchemaError(
                    f"this user may not create the extension {name!r} ({error}). Make the user a "
                    f"superuser of the test server, or use the embedded server."
                ) from error
    finally:
        await connection.close()


def find(path: str | os.PathLike[str], method: str, kind: str) -> Path:
    """Return a path's place in the current directory, or in the nearest one above it.

    Raises:
        SchemaError: it is in none.
    """
    path = Path(path)
    folders = [Path(), *Path.cwd().parents] if not path.is_absolute() else [Path()]
    for folder in folders:
        found = folder / path
        if found.is_file() or (kind != "file" and found.is_dir()):
            return found.resolve()
    raise SchemaError(
        f"Schema.{method}({str(path)!r}): there is no such {kind} in {Path.cwd()} or a folder "
        f"above it. Give an absolute path, such as Path(__file__).parents[1] / {path.name!r}."
    )
