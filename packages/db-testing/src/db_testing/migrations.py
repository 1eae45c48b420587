"""Tests of a history of migrations, to be inherited by a class of the application's tests.

For example::

    class TestMigrations(MigrationTests):
        ini = "alembic.ini"
        metadata = Base.metadata

They are pytest-alembic's, each on an empty database of its own, and two for what these miss.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from .errors import FixtureError
from .schema import Schema

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import MetaData

    from ._schema._alembic import Migrations
    from .schema import SchemaLike

_ENUMS = """
    SELECT n.nspname AS schema, t.typname AS name, array_agg(e.enumlabel ORDER BY e.enumsortorder)
    FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
        JOIN pg_namespace n ON n.oid = t.typnamespace
    GROUP BY n.nspname, t.typname
"""
_TABLES = """
    SELECT schemaname, tablename FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""


class MigrationTests:
    """What every history of migrations must hold. Needs pytest-alembic.

    The tests of pytest-alembic's documentation, under its names, and these: every model has its
    table, also where `env.py` does not import it; and every enum has its values, in their order,
    which Alembic does not compare.
    """

    pytestmark: ClassVar = [pytest.mark.db(isolation="database")]

    # Attributes of the class that inherits them.

    @property
    def metadata(self) -> MetaData | Sequence[MetaData]:
        """That of all models; import them all before."""
        raise FixtureError(
            f"{type(self).__name__} does not say which models there are: set metadata = "
            f"Base.metadata in it."
        )

    @property
    def ini(self) -> str | os.PathLike[str]:
        """As for :meth:`db_testing.Schema.from_alembic`."""
        return "alembic.ini"

    @property
    def url_setting(self) -> str | None:
        """As for :meth:`db_testing.Schema.from_alembic`."""
        return None

    @property
    def baseline(self) -> SchemaLike | None:
        """What the first migration finds; None: an empty database."""
        return None

    # The tests, and what they need.

    @pytest.fixture(scope="session")
    @classmethod
    def db_schema(cls) -> SchemaLike:
        """Return what the first migration finds."""
        return cls().baseline or Schema.from_metadata()

    @pytest.fixture(scope="session")
    @classmethod
    def db_bind(cls) -> Sequence[object]:
        """Bind nothing: the application's objects lead to the database of its own tests."""
        return []

    @pytest.fixture
    def alembic_runner(self, test_database_url: str) -> Iterator[Any]:
        """Return pytest-alembic's runner of migrations, led to the test's database.

        Raises:
            FixtureError: pytest-alembic is not installed.
        """
        from sqlalchemy.engine import make_url

        try:
            import pytest_alembic
        except ImportError as error:
            raise FixtureError(
                "MigrationTests needs pytest-alembic, which is not installed: "
                'pip install "db-testing[migrations]".'
            ) from error
        migrations = self._migrations()
        with (
            migrations.configured(make_url(test_database_url)) as config,
            pytest_alembic.runner(pytest_alembic.Config(alembic_config=config)) as runner,
        ):
            yield runner

    def _migrations(self) -> Migrations:
        from ._schema._alembic import Migrations
        from .schema import find

        return Migrations(find(self.ini, "from_alembic", "file"), self.url_setting)

    def test_single_head_revision(self, alembic_runner: Any) -> None:
        """Two heads are what a merge of two branches leaves, and a deployment stumbles over."""
        from pytest_alembic import tests

        tests.test_single_head_revision(alembic_runner)

    def test_upgrade(self, alembic_runner: Any) -> None:
        """The whole history can be run."""
        from pytest_alembic import tests

        tests.test_upgrade(alembic_runner)

    def test_model_definitions_match_ddl(self, alembic_runner: Any) -> None:
        """Autogenerate finds nothing to add."""
        from pytest_alembic import tests

        tests.test_model_definitions_match_ddl(alembic_runner)

    def test_up_down_consistency(self, alembic_runner: Any) -> None:
        """Each migration can be undone, and done again."""
        from pytest_alembic import tests

        tests.test_up_down_consistency(alembic_runner)

    def test_every_model_has_its_table(self, alembic_runner: Any, test_database_url: str) -> None:
        """A model that `env.py` does not import is one that autogenerate never misses."""
        alembic_runner.migrate_up_to("heads", return_current=False)
        made = {(row[0], row[1]) for row in _ask(test_database_url, _TABLES)}
        wanted = {
            (table.schema or "public", table.name)
            for metadata in self._all_metadata()
            for table in metadata.tables.values()
        }
        missing = sorted(".".join(place) for place in wanted - made)
        if missing:
            pytest.fail(
                f"no migration makes {', '.join(missing)}. Import these models in env.py, and "
                f"generate a migration.",
                pytrace=False,
            )

    def test_enums_have_their_values(self, alembic_runner: Any, test_database_url: str) -> None:
        """Alembic compares the names of enums, and not their values."""
        alembic_runner.migrate_up_to("heads", return_current=False)
        made = {(row[0], row[1]): list(row[2]) for row in _ask(test_database_url, _ENUMS)}
        differences = [
            f"{'.'.join(place)} has the values {made.get(place)}, and the models want {values}"
            for place, values in _enums(self._all_metadata()).items()
            if made.get(place) != values
        ]
        if differences:
            pytest.fail(
                "; ".join(differences) + ". Write a migration with ALTER TYPE ... ADD VALUE.",
                pytrace=False,
            )

    def _all_metadata(self) -> Sequence[MetaData]:
        from sqlalchemy import MetaData

        given = self.metadata
        return (given,) if isinstance(given, MetaData) else given


def _enums(all_metadata: Sequence[MetaData]) -> Mapping[tuple[str, str], list[str]]:
    """Return the values of the enums of all columns, by schema and name."""
    from sqlalchemy import ARRAY, Enum, TypeDecorator

    found = {}
    for metadata in all_metadata:
        for column in (column for table in metadata.tables.values() for column in table.columns):
            kind = column.type
            while isinstance(kind, ARRAY | TypeDecorator):
                kind = kind.item_type if isinstance(kind, ARRAY) else kind.impl_instance
            if isinstance(kind, Enum) and kind.native_enum and kind.name:
                place = kind.schema or "public", kind.name
                found[place] = list(kind.enums)
    return found


def _ask(url: str, query: str) -> list[Any]:
    from sqlalchemy.engine import make_url

    from ._server._admin import connect, disconnect

    async def ask() -> list[Any]:
        connection = await connect(make_url(url))
        try:
            return list(await connection.fetch(query))
        finally:
            await disconnect(connection)

    return asyncio.run(ask())
