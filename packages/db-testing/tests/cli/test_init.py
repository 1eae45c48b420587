"""`db-testing init`: a project is looked at, and its tests are led to db-testing."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from db_testing._commands import plan, program
from db_testing.errors import InitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .conftest import Command

DATABASE = """
    import os
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
    from sqlalchemy.orm import DeclarativeBase

    class Base(DeclarativeBase):
        pass

    engine = create_async_engine(os.environ.get("NO_SUCH", "postgresql+asyncpg://nowhere:1/x"))
    Session = async_sessionmaker(engine, expire_on_commit=False)
    """
MODELS = """
    from sqlalchemy.orm import Mapped, mapped_column
    from ..database import Base

    class Order(Base):
        __tablename__ = "order_of_init"
        id: Mapped[int] = mapped_column(primary_key=True)
    """
TESTS = """
    from sqlalchemy import select
    from shop.database import Session
    from shop.orders.models import Order

    async def test_own(db):
        db.add(Order())
        await db.commit()
        assert (await db.scalars(select(Order.id))).all() == [1]

    async def test_applications():
        async with Session() as session:
            session.add(Order())
            await session.commit()
            assert (await session.scalars(select(Order.id))).all() == [1]
    """
SLOW = '''
    """What the tests share."""

    import asyncio

    import pytest
    import pytest_asyncio
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

    from shop.database import Base

    @pytest.fixture(scope="session")
    def event_loop():
        loop = asyncio.new_event_loop()
        yield loop
        loop.close()

    @pytest_asyncio.fixture
    async def engine():
        engine = create_async_engine("postgresql+asyncpg://nowhere:1/test")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield engine
        await engine.dispose()

    @pytest_asyncio.fixture
    async def session(engine) -> AsyncSession:
        async with async_sessionmaker(engine)() as session:
            yield session

    @pytest_asyncio.fixture(name="db")
    async def database(session):
        yield session

    @pytest_asyncio.fixture(autouse=True)
    async def _clean(engine):
        yield
        async with engine.begin() as connection:
            await connection.execute(text("TRUNCATE order_of_init"))

    @pytest.fixture
    def order_number():
        return 5
    '''
ENV = """
    import asyncio
    from alembic import context
    from sqlalchemy.ext.asyncio import create_async_engine
    from shop.settings import settings

    config = context.config
    config.set_main_option("sqlalchemy.url", str(settings.database_url))

    def run(connection):
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()

    async def main():
        engine = create_async_engine(config.get_main_option("sqlalchemy.url"))
        async with engine.connect() as connection:
            await connection.run_sync(run)
        await engine.dispose()

    asyncio.run(main())
    """
SETTINGS = """
    class Settings:
        database_url = "postgresql+asyncpg://nowhere:1/x"

    settings = Settings()
    """
REVISION = """
    from alembic import op
    import sqlalchemy as sa

    revision = "1"
    down_revision = None

    def upgrade():
        op.create_table("order_of_init", sa.Column("id", sa.Integer, primary_key=True))
    """
PYPROJECT = '[project]\nname = "shop"  # ours\nversion = "1"\n\n[tool.ruff]\nline-length = 99\n'

SRC = {
    "pyproject.toml": PYPROJECT,
    "src/shop/__init__.py": "",
    "src/shop/database.py": DATABASE,
    "src/shop/orders/__init__.py": "",
    "src/shop/orders/models.py": MODELS,
    "tests/test_orders.py": TESTS,
}


@pytest.fixture
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which a project is written."""
    monkeypatch.delenv("DB_TESTING_SERVER", raising=False)
    return pytester.path


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text).lstrip("\n"))


def passed(pytester: pytest.Pytester) -> int:
    """Run the project's tests as its owner does, and return how many there are: all pass."""
    # pytest-asyncio warns of a loop scope that is unset.
    result = pytester.runpytest_inprocess("-W", "ignore::pytest.PytestDeprecationWarning")
    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed"}
    return outcomes["passed"]


def test_project_with_a_src_layout(shop: Path, command: Command, pytester: pytest.Pytester) -> None:
    """Its tests run at once, on the application's own engine too; a second time adds nothing."""
    write(shop, SRC)
    code, said = command("init", "--yes", "--json")
    assert (code, said["by_hand"], said["notes"]) == (0, [], [])
    assert [(each["path"], each["new"]) for each in said["files"]] == [
        (f"{shop}/tests/conftest.py", True),
        (f"{shop}/pyproject.toml", False),
    ]
    assert (shop / "pyproject.toml").read_text().startswith(PYPROJECT.partition("\n[tool.ruff]")[0])
    assert passed(pytester) == 2
    _, again = command("init", "--yes", "--json")
    assert again["files"] == []


def test_project_with_migrations(shop: Path, command: Command, pytester: pytest.Pytester) -> None:
    """They build the schema, and are led to the test database past the application's settings."""
    write(
        shop,
        SRC
        | {
            "alembic.ini": "[alembic]\nscript_location = migrations\n",
            "migrations/env.py": ENV,
            "migrations/versions/one.py": REVISION,
            "src/shop/settings.py": SETTINGS,
        },
    )
    assert command("init", "--yes", "--json")[0] == 0
    assert (
        'Schema.from_alembic("alembic.ini", url_setting="shop.settings:settings.database_url")'
        in (shop / "tests/conftest.py").read_text()
    )
    assert passed(pytester) == 2


@pytest.mark.parametrize(
    ("imports", "line", "setting"),
    [
        ("import os", 'X("sqlalchemy.url", os.environ["DSN"])', "os:environ.DSN"),
        ("from os import environ", 'X("sqlalchemy.url", environ.get("DSN", ""))', "os:environ.DSN"),
        ("import os", 'X("sqlalchemy.url", os.getenv("DSN").replace("a", "b"))', "os:environ.DSN"),
        (
            "from sqlalchemy import create_engine\nfrom shop.settings import settings",
            "create_engine(settings.database_url)",
            "shop.settings:settings.database_url",
        ),
        ("name = 'a'", 'X("sqlalchemy.url", f"postgresql://{name}/b")', None),
        ("", "context.run_migrations()", None),
    ],
)
@pytest.mark.parametrize("file", ["alembic.ini", "pyproject.toml"])
def test_what_env_py_puts_in_place_of_the_url(
    shop: Path, file: str, imports: str, line: str, setting: str | None
) -> None:
    """It is found, if it is a setting; then migrations are led past it to the test database."""
    table = "[alembic]" if file == "alembic.ini" else "[tool.alembic]"
    quote = "" if file == "alembic.ini" else "'"
    line = line.replace("X(", "context.config.set_main_option(")
    write(
        shop,
        {
            "app.py": "x = 1\n",
            file: f"{table}\nscript_location = {quote}%(here)s/moves{quote}\n",
            "moves/env.py": f"from alembic import context\n{imports}\n{line}\n",
        },
    )
    conftest = plan.make(shop).changes[0].after
    given = f', url_setting="{setting}"' if setting is not None else ""
    assert f'Schema.from_alembic("{file}"{given})' in conftest


def test_what_is_no_engine_of_the_applications(shop: Path) -> None:
    """A function that returns one is bound as well as an object; one for SQLite is not."""
    database = """
        from sqlalchemy.ext.asyncio import create_async_engine

        cache = create_async_engine("sqlite+aiosqlite://")

        def make_engine():
            return create_async_engine("postgresql+asyncpg://nowhere:1/x")

        def make_cache():
            return create_async_engine("sqlite+aiosqlite://")
        """
    write(shop, SRC | {"src/shop/other.py": database})
    [_, configuration] = plan.make(shop).changes
    assert "shop.other:make_engine" in configuration.after
    assert "cache" not in configuration.after


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tests/conftest.py", b"def f(:\n"),
        ("pyproject.toml", b"# \xff\n"),
        ("pyproject.toml", b"a =\n"),
        ("alembic.ini", b"script_location = x\n"),
    ],
)
def test_file_that_cannot_be_read(shop: Path, command: Command, name: str, content: bytes) -> None:
    """It is named, with what is wrong; nothing is written."""
    write(shop, SRC | {"pytest.ini": "[pytest]\n", "tests/conftest.py": ""})
    (shop / name).write_bytes(content)
    code, said = command("init", "--yes", "--json")
    assert code == 1
    assert said["error"].startswith(f"db-testing: {shop / name} cannot be read: ")
    assert said["error"].count("\n") == 1
    assert (shop / name).read_bytes() == content
    assert (shop / "pytest.ini").read_text() == "[pytest]\n"


def test_project_with_a_slow_conftest(
    shop: Path, command: Command, pytester: pytest.Pytester
) -> None:
    """What is there stays; what is to go is named, with what takes its place, and then it works."""
    write(shop, SRC | {"tests/conftest.py": SLOW, "pytest.ini": "[pytest]\naddopts =\n    -ra\n"})
    before = (shop / "tests/conftest.py").read_text()
    code, said = command("init", "--yes", "--json")
    assert code == 0
    after = (shop / "tests/conftest.py").read_text()
    assert [line for line in before.splitlines() if line not in after.splitlines()] == []
    assert (
        (shop / "pytest.ini").read_text().startswith("[pytest]\naddopts =\n    -ra\nasyncio_mode")
    )
    old = {each["name"]: each for each in said["by_hand"]}
    assert list(old) == ["event_loop", "engine", "session", "db", "_clean"]
    assert old["engine"]["why"] == "it makes an engine, and builds the schema"
    assert old["_clean"]["why"] == "it empties or drops tables"
    assert old["db"]["how"] == "Remove it; tests then get db-testing's db."
    start, end = (
        after.index('@pytest.fixture(scope="session")\ndef event_loop'),
        after.index("@pytest.fixture\ndef order_number"),
    )
    kept = "\n\n".join(
        dedent(old[name]["how"].partition("\n")[2]) for name in ("engine", "session")
    )
    (shop / "tests/conftest.py").write_text(after[:start] + kept + "\n\n" + after[end:])
    (shop / "tests/test_session.py").write_text(
        "async def test_alias(session, db, engine, db_engine):\n"
        "    assert session is db\n    assert engine is db_engine\n"
    )
    assert passed(pytester) == 3


def test_question(shop: Path) -> None:
    """The difference is shown first; who says no, or cannot be asked, has nothing written."""
    write(shop, SRC)
    for answer in ("n\n", ""):
        result = CliRunner().invoke(program.app, ["init"], input=answer)
        assert "+def db_schema() -> Schema:" in result.stdout
        assert result.exit_code == 1
        assert not (shop / "tests/conftest.py").exists()
    result = CliRunner().invoke(program.app, ["init"], input="y\n")
    assert result.stdout.endswith("Written. Next: db-testing doctor\n")
    assert (shop / "tests/conftest.py").exists()
    result = CliRunner().invoke(program.app, ["init"])
    assert result.stdout == "Nothing to write: it is all there. Next: db-testing doctor\n"


def test_what_is_left_to_do(shop: Path) -> None:
    """Fixtures in the way, and settings that cost or lack something, are shown with the remedy."""
    database = DATABASE.replace("sqlalchemy.ext.asyncio", "sqlalchemy.orm").replace("async_", "")
    database = database.replace("sessionmaker, ", "sessionmaker\n    from sqlalchemy import ", 1)
    settings = "asyncio_default_test_loop_scope = module\npythonpath = tests\n"
    write(
        shop,
        SRC
        | {
            "src/shop/database.py": database.replace("+asyncpg", "+psycopg"),
            "tests/conftest.py": SLOW,
            "pytest.ini": f"[pytest]\n{settings}",
        },
    )
    said = CliRunner().invoke(program.app, ["init", "--yes"]).stdout
    todo = said[said.index("To be done by hand") :].replace("\n", " ")
    assert f"- {shop}/tests/conftest.py:13: event_loop: " in todo
    assert "- synchronous engines need psycopg: pip install 'db-testing[sync]'" in todo
    assert "asyncio_default_test_loop_scope = 'module' gives loops of their own" in todo
    assert f"- {shop}/pytest.ini: add src to pythonpath" in todo


def test_plan_alone(shop: Path, command: Command) -> None:
    """A program that asks gets the plan, and nothing is written."""
    write(shop, SRC)
    code, said = command("init", "--json")
    assert (code, said["written"], len(said["files"])) == (0, False, 2)
    assert not (shop / "tests/conftest.py").exists()


def test_configuration_above_the_project() -> None:
    """As in a repository of several: the difference leads to it from where the command runs."""
    change = plan.Change(Path("/shop/pyproject.toml"), "a\n", "b\n")
    assert change.diff(Path("/shop/services/api")).startswith("--- ../../pyproject.toml\n")


def test_folder_without_tables(shop: Path, command: Command) -> None:
    """The error says what was looked for, and where."""
    write(shop, {"app.py": "x = 1\n"})
    code, said = command("init", "--yes", "--json")
    assert code == 1
    assert f"there are no tables in {shop}" in said["error"]
    assert list(shop.iterdir()) == [shop / "app.py"]


def test_file_that_changes_meanwhile(shop: Path) -> None:
    """Nobody's work is overwritten: neither a new file nor a changed one."""
    write(shop, SRC)
    conftest, pyproject = plan.make(shop).changes
    write(shop, {"tests/conftest.py": "mine = 1\n", "pyproject.toml": "[project]\n"})
    for change in (conftest, pyproject):
        with pytest.raises(InitError):
            change.write()
    assert (shop / "tests/conftest.py").read_text() == "mine = 1\n"
    assert (shop / "pyproject.toml").read_text() == "[project]\n"


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("from sqlalchemy.orm import declarative_base\nBase = declarative_base()", "Base.metadata"),
        ("from sqlalchemy import MetaData\ntables = MetaData()", "tables"),
        ("import sqlalchemy as sa\nbase = sa.orm.declarative_base()", "base.metadata"),
        (
            "from sqlmodel import SQLModel\nclass A(SQLModel, table=True):\n    id: int",
            "SQLModel.metadata",
        ),
        (
            "from advanced_alchemy.base import UUIDBase\nclass A(UUIDBase):\n    pass",
            "UUIDBase.metadata",
        ),
    ],
)
def test_ways_to_have_tables(shop: Path, models: str, expected: str) -> None:
    """Each way to write tables down is found without importing the module."""
    write(shop, {"models.py": models + "\nraise SystemExit('imported')\n"})
    conftest = plan.make(shop).changes[0]
    assert conftest.path == shop / "tests/conftest.py"
    assert f"Schema.from_metadata({expected})" in conftest.after
    assert ("import models" in conftest.after) == ("class" in models)


def test_what_a_conftest_imports_already(shop: Path) -> None:
    """Nothing is imported a second time, unless under another name."""
    imports = "from shop.database import Base as B\nfrom shop.orders.models import Order\n"
    write(shop, SRC | {"tests/conftest.py": imports})
    diff = plan.make(shop).changes[0].diff(shop).splitlines()
    assert [line for line in diff if line.startswith("+") and "import" in line] == [
        "+import pytest",
        "+from db_testing import Schema",
        "+from shop.database import Base",
    ]


def test_two_bases(shop: Path) -> None:
    """Both are handed over, under names of their own; one that nothing derives from is not."""
    base = "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): pass\n"
    table = "class T(Base):\n    __tablename__ = 't'\n"
    write(shop, {"one.py": base + table, "two.py": base + table, "three.py": base})
    assert (
        "Schema.from_metadata(Base1.metadata, Base2.metadata)" in plan.make(shop).changes[0].after
    )


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("pytest.ini", "", "[pytest]\nasyncio_mode = auto\npythonpath =\n    .\n"),
        (
            "setup.cfg",
            "[tool:pytest]\nasyncio_mode = strict\n\n[other]\na = 1\n",
            "[tool:pytest]\nasyncio_mode = strict\npythonpath =\n    .\n\n[other]\na = 1\n",
        ),
        (
            "pyproject.toml",
            "[tool.pytest]\n# why\nstrict = true\n",
            '[tool.pytest]\n# why\nstrict = true\nasyncio_mode = "auto"\npythonpath = ["."]\n',
        ),
        (
            "pytest.toml",
            "",
            '[pytest]\nasyncio_mode = "auto"\npythonpath = ["."]\n',
        ),
    ],
)
def test_files_that_configure_pytest(shop: Path, name: str, before: str, after: str) -> None:
    """Settings come to what is there, comments and all, and change none of it."""
    base = "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): pass\n"
    write(shop, {"models_of_it.py": base, name: before})
    [_, configuration] = plan.make(shop).changes
    assert (configuration.path.name, configuration.after) == (name, after)
