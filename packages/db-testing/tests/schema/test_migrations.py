"""MigrationTests, inherited by a class of a project's, and everything that it should find."""

from __future__ import annotations

import pytest

from .test_alembic import ASYNC_ENV, SYNC_ENV, Project

INI = """
[pytest]
asyncio_default_fixture_loop_scope = function
filterwarnings = error
pythonpath = .
"""

MODELS = """
import enum
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Colour(enum.Enum):
    red = 1
    green = 2

class Upper(sa.TypeDecorator):
    impl = sa.Enum(Colour, name="colour")
    cache_ok = True

class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    colour: Mapped[Colour] = mapped_column({colour})
"""

TESTS = """
from db_testing.migrations import MigrationTests
from models import Base

class TestMigrations(MigrationTests):
    metadata = Base.metadata
"""

FIRST = """
from alembic import op
import sqlalchemy as sa

revision = "aaa1"
down_revision = None
branch_labels = None
depends_on = None

def upgrade():
    colour = sa.Enum("red", "green", name="colour")
    op.create_table("thing",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("colour", {colour}, nullable=False))

def downgrade():
    op.drop_table("thing")
    op.execute("DROP TYPE colour")
"""

KNOWS_MODELS = (
    "configure(connection=connection",
    "configure(connection=connection, target_metadata=Base.metadata",
)


def with_models(env: str) -> str:
    """Let an env.py know the models."""
    return "from models import Base\n" + env.replace(*KNOWS_MODELS)


class Suite:
    """A project with one migration and one model, and the class that tests it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        """Write it."""
        self.pytester = pytester
        self.project = Project(pytester.path, with_models(ASYNC_ENV))
        self.first = self.project.migrations / "versions" / "aaa1.py"
        self.models = pytester.path / "models.py"
        self.tests = pytester.path / "test_migrations.py"
        self.tests.write_text(TESTS)
        self.write("sa.Enum(Colour, name='colour')", "colour")
        pytester.makeini(INI)

    def write(self, model: str, migration: str) -> None:
        """Write the model and the migration with a type of the column."""
        self.models.write_text(MODELS.replace("{colour}", model))
        self.first.write_text(FIRST.replace("{colour}", migration))

    def run(self, *arguments: str, **outcomes: int) -> pytest.RunResult:
        """Run the class, and check how many passed and failed."""
        result = self.pytester.runpytest_inprocess("-p", "pytest_alembic", *arguments)
        result.assert_outcomes(**outcomes)
        return result


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    """Return a project that holds what is tested."""
    return Suite(pytester)


@pytest.mark.parametrize(
    ("env", "workers"),
    [(ASYNC_ENV, "0"), (SYNC_ENV, "0"), (ASYNC_ENV, "2")],
    ids=["async", "sync", "xdist"],
)
def test_history_that_holds(suite: Suite, env: str, workers: str) -> None:
    """Every test passes, each on an empty database, whichever the driver."""
    suite.project.env.write_text(with_models(env))
    suite.run("-n", workers, passed=6)


@pytest.mark.parametrize(
    ("model", "migration"),
    [("sa.ARRAY(sa.Enum(Colour, name='colour'))", "sa.ARRAY(colour)"), ("Upper", "colour")],
)
def test_enums_are_found_in_other_types(suite: Suite, model: str, migration: str) -> None:
    """An array of them, or a type that is made of one."""
    suite.write(model, migration)
    suite.run("-k", "enums or table", passed=2, deselected=4)
    suite.models.write_text(suite.models.read_text().replace("green = 2", "blue = 3"))
    result = suite.run("-k", "enums or table", passed=1, failed=1, deselected=4)
    wanted = "the values ['red', 'green'], and the models want ['red', 'blue']. Write a migration"
    assert f"public.colour has {wanted}" in result.stdout.str()


def test_enum_of_a_table_in_a_schema(suite: Suite) -> None:
    """SQLAlchemy makes the type where no schema is named, unless it is told to."""
    named = '__tablename__ = "thing"'
    models = suite.models.read_text().replace(
        named, f'{named}\n    __table_args__ = {{"schema": "shop"}}'
    )
    suite.models.write_text(models)
    migration = suite.first.read_text().replace(
        "nullable=False))", 'nullable=False), schema="shop")'
    )
    suite.first.write_text(
        migration.replace(
            "    op.create_table(", '    op.execute("CREATE SCHEMA shop")\n    op.create_table('
        )
    )
    suite.run("-k", "enums", passed=1, deselected=5)
    suite.models.write_text(models.replace("green = 2", "blue = 3"))
    result = suite.run("-k", "enums", failed=1, deselected=5)
    result.stdout.fnmatch_lines(["*public.colour has the values*"])


def test_model_that_env_does_not_import(suite: Suite) -> None:
    """Autogenerate cannot miss what it does not know; the metadata that is named does."""
    (suite.pytester.path / "more.py").write_text(
        "from models import Base\n"
        "from sqlalchemy.orm import Mapped, mapped_column\n"
        "class Other(Base):\n"
        "    __tablename__ = 'other'\n"
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
    )
    # As where the tests import the whole application, and env.py does not.
    env = suite.project.env.read_text()
    known = (
        "Base.metadata.tables['thing'].to_metadata(__import__('sqlalchemy').MetaData()).metadata"
    )
    suite.project.env.write_text(
        env.replace("target_metadata=Base.metadata", f"target_metadata={known}")
    )
    suite.tests.write_text("import more\n" + TESTS)
    result = suite.run(passed=5, failed=1)
    result.stdout.fnmatch_lines(
        ["*no migration makes public.other. Import these models in env.py*"]
    )


def test_two_heads(suite: Suite) -> None:
    """As a merge of two branches leaves them."""
    for name in ("aaa2", "aaa3"):
        suite.project.add(name, "pass\n\ndef downgrade():\n    pass", down="aaa1")
    result = suite.run("-k", "single or upgrade", passed=1, failed=1, deselected=4)
    result.stdout.fnmatch_lines(["*Expected 1 head revision, found 2*"])


def test_downgrade_that_fails(suite: Suite) -> None:
    """An enum that stays is what is in the way when the migration is run again."""
    suite.first.write_text(
        suite.first.read_text().replace('op.execute("DROP TYPE colour")', "fail()")
    )
    suite.project.add("aaa2", "pass\n\ndef downgrade():\n    nothing()", down="aaa1")
    suite.run("-k", "consistency", failed=1, deselected=5)


def test_history_that_begins_later(suite: Suite) -> None:
    """A database made by create_all, before there were migrations, is what they begin with."""
    suite.project.add(
        "aaa1",
        "op.add_column('thing', sa.Column('more', sa.Integer))\n\n"
        "def downgrade():\n    op.drop_column('thing', 'more')",
    )
    suite.models.write_text(suite.models.read_text() + "    more: Mapped[int | None]\n")
    (suite.pytester.path / "baseline.sql").write_text(
        "CREATE TYPE colour AS ENUM ('red', 'green');"
        "CREATE TABLE thing (id serial PRIMARY KEY, colour colour NOT NULL);"
    )
    suite.run("-k", "test_upgrade", failed=1, deselected=5)
    suite.tests.write_text(TESTS + "    baseline = Schema.from_sql('baseline.sql')\n")
    suite.tests.write_text("from db_testing import Schema\n" + suite.tests.read_text())
    suite.run(passed=6)


def test_two_histories_in_one_module(suite: Suite) -> None:
    """Each class has its own, and databases of its own."""
    other = suite.pytester.path / "other"
    other.mkdir()
    project = Project(other)
    path = project.table("elsewhere", "bbb1")
    path.write_text(path.read_text() + "\ndef downgrade():\n    op.drop_table('elsewhere')\n")
    suite.tests.write_text(
        TESTS
        + "\nimport sqlalchemy as sa\nOTHER = sa.MetaData()\n"
        + "sa.Table('elsewhere', OTHER, sa.Column('id', sa.Integer, primary_key=True))\n"
        + "class TestOther(MigrationTests):\n"
        + "    ini = 'other/alembic.ini'\n    metadata = [OTHER]\n"
    )
    suite.run("-k", "not definitions", passed=10, deselected=2)


def test_beside_bound_objects(suite: Suite) -> None:
    """The application's own engine leads to its tests' database, and not to that of migrations."""
    pytester = suite.pytester
    pytester.makepyfile(
        database="""
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine("postgresql+asyncpg://production.invalid/x")
        """,
        test_application="""
        from database import engine
        from sqlalchemy import text

        async def test_application():
            async with engine.connect() as connection:
                assert await connection.scalar(text("SELECT 1")) == 1
        """,
    )
    pytester.makeconftest(
        """
        import pytest
        from db_testing import Schema
        from models import Base

        @pytest.fixture(scope="session")
        def db_schema():
            return Schema.from_metadata(Base.metadata)
        """
    )
    options = ("--override-ini=db_bind=database:engine", "--override-ini=asyncio_mode=auto")
    suite.run(*options, passed=7)


def test_metadata_that_is_not_given(suite: Suite) -> None:
    """What it is needed for fails with what to write; the rest does without."""
    suite.tests.write_text(TESTS.replace("metadata = Base.metadata", "pass"))
    result = suite.run(passed=4, failed=2)
    result.stdout.fnmatch_lines(["*TestMigrations does not say which models there are: set*"])


def test_pytest_alembic_that_is_not_there(suite: Suite) -> None:
    """The error names the extra."""
    suite.pytester.makeconftest("import sys\nsys.modules['pytest_alembic'] = None\n")
    result = suite.run("-p", "no:pytest_alembic", errors=6)
    result.stdout.fnmatch_lines(["*FixtureError: MigrationTests needs pytest-alembic*migrations*"])
