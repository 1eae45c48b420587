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

    @pytest_asyncio.fixture(scope="session")
    async def engine():
        engine = create_async_engine("postgresql+asyncpg://nowhere:1/test")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield engine
        await engine.dispose()

    @pytest.fixture(scope="session")
    def session_factory(engine):
        factory = async_sessionmaker(engine)
        return factory

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
        (
            "from shop.settings import get_settings",
            'X("sqlalchemy.url", str(get_settings().DATABASE_URL))',
            "shop.settings:get_settings().DATABASE_URL",
        ),
        (
            "from shop.settings import get_settings\nsettings = get_settings()",
            'X("sqlalchemy.url", settings.db.url.get_secret_value())',
            "shop.settings:get_settings().db.url",
        ),
        (
            "from shop.settings import settings\ndef get_url():\n    return str(settings.URL)",
            'section = {}\nsection["sqlalchemy.url"] = get_url()',
            "shop.settings:settings.URL",
        ),
        (
            "from shop import settings",
            'X("sqlalchemy.url", settings.get().url)',
            "shop:settings.get().url",
        ),
        (
            "from shop.settings import settings\nsettings = settings.database",
            'X("sqlalchemy.url", settings.url)',
            None,
        ),
        ("import os\nurl = os.environ['DSN']", 'X("sqlalchemy.url", url)', "os:environ.DSN"),
        ("from x import Settings", 'X("sqlalchemy.url", Settings().url)', None),
        ("url = 'a'\nurl = url", 'X("sqlalchemy.url", url)', None),
        ("a = b\nb = a", 'X("sqlalchemy.url", a.x)', None),
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
    made = plan.make(shop)
    conftest = made.changes[0].after
    noted = [note for note in made.notes if "past Alembic's setting" in note]
    assert len(noted) == (setting is None and "sqlalchemy.url" in line)
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
    write(shop, SRC | {"src/shop/other.py": database, "src/shop/app.py": "from . import other\n"})
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
    assert list(old) == ["event_loop", "engine", "session_factory", "session", "db", "_clean"]
    assert old["engine"]["why"] == "it makes an engine, and builds the schema"
    assert old["session_factory"]["why"] == "it makes a sessionmaker"
    assert old["_clean"]["why"] == "it empties or drops tables"
    assert old["db"]["how"] == "Remove it; tests then get db-testing's db."
    start, end = (
        after.index('@pytest.fixture(scope="session")\ndef event_loop'),
        after.index("@pytest.fixture\ndef order_number"),
    )
    kept = "\n\n".join(
        dedent(old[name]["how"].partition("\n")[2])
        for name in ("engine", "session_factory", "session")
    )
    (shop / "tests/conftest.py").write_text(after[:start] + kept + "\n\n" + after[end:])
    (shop / "tests/test_session.py").write_text(
        "async def test_alias(session, db, engine, db_engine, session_factory, db_sessionmaker):\n"
        "    assert session is db\n    assert engine is db_engine\n"
        "    assert session_factory is db_sessionmaker\n"
    )
    assert passed(pytester) == 3


def test_sessionmaker_of_synchronous_code(shop: Path) -> None:
    """Tests get one on db-testing's engine."""
    conftest = """
        import pytest
        from sqlalchemy import create_engine
        from sqlalchemy.orm import sessionmaker

        from shop.database import Base

        @pytest.fixture
        def shop_sessionmaker():
            engine = create_engine("postgresql+psycopg://nowhere:1/test")
            Base.metadata.create_all(engine)
            return sessionmaker(bind=engine)
        """
    write(shop, SRC | {"tests/conftest.py": conftest})
    [old] = plan.make(shop).by_hand
    assert old.why == "it makes a sessionmaker, and builds the schema"
    assert old.how.endswith(
        "    def shop_sessionmaker(db_sync_engine):\n        return sessionmaker(db_sync_engine)"
    )


def test_tables_that_were_not_made_by_the_migrations(shop: Path) -> None:
    """Where migrations are there but tests had their tables made from metadata, init says so."""
    files = {
        "alembic.ini": "[alembic]\nscript_location = moves\n",
        "moves/env.py": "from alembic import context\ncontext.run_migrations()\n",
    }
    write(shop, SRC | files | {"tests/conftest.py": SLOW})
    assert ["create_all so far" in note for note in plan.make(shop).notes] == [True]
    write(shop, {"tests/conftest.py": ""})
    assert not plan.make(shop).notes


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


@pytest.mark.parametrize(
    "before",
    [
        "",
        "# ours\n",
        '"""What the tests share."""\n',
        '"""Shared."""\n\nfrom __future__ import annotations\n',
        "import os\n",
    ],
)
def test_conftest_that_defines_nothing(
    shop: Path, command: Command, pytester: pytest.Pytester, before: str
) -> None:
    """One that is empty, or has but a docstring, comments or imports: lines come after these."""
    write(shop, SRC | {"tests/conftest.py": before})
    assert command("init", "--yes", "--json")[0] == 0
    after = (shop / "tests/conftest.py").read_text()
    assert after.startswith(before)
    assert "import pytest\n" in after
    assert passed(pytester) == 2


def test_functions_that_need_arguments(shop: Path) -> None:
    """What returns an engine or sessionmaker for given arguments cannot be bound, and is not."""
    makers = """
        from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

        def make_engine(url):
            return create_async_engine(url)

        def make_session(*, engine):
            return async_sessionmaker(engine)

        def other_session(engine, /):
            return async_sessionmaker(engine)

        def default_engine(url="postgresql+asyncpg://nowhere:1/x", *args, echo=False, **more):
            return create_async_engine(url)
        """
    write(
        shop, SRC | {"src/shop/makers.py": makers, "tests/test_makers.py": "import shop.makers\n"}
    )
    [_, configuration] = plan.make(shop).changes
    after = configuration.after
    assert "shop.makers:default_engine" in after
    assert not any(name in after for name in ("make_engine", "make_session", "other_session"))
    assert 'db_session_options = "shop.database:Session"' in after


def test_sessions_of_a_function(shop: Path) -> None:
    """Tests get the application's own kind of session, also where a function makes them."""
    database = DATABASE.replace("Session = ", "def get_sessions():\n        return ")
    write(shop, SRC | {"src/shop/database.py": database})
    after = plan.make(shop).changes[-1].after
    assert 'db_session_options = "shop.database:get_sessions"' in after


def test_sessions_of_a_scope(shop: Path) -> None:
    """They are bound too, where their sessionmaker has no name of its own."""
    database = DATABASE.partition("engine =")[0] + (
        "from sqlalchemy.orm import scoped_session, sessionmaker\n"
        "    db_session = scoped_session(sessionmaker(autoflush=False))\n"
    )
    write(shop, SRC | {"src/shop/database.py": database})
    made = plan.make(shop)
    assert 'db_bind = ["shop.database:db_session"]' in made.changes[-1].after
    assert 'db_session_options = "shop.database:db_session"' in made.changes[-1].after
    assert any("db-testing[sync]" in note for note in made.notes)
    named = database.replace("scoped_session(sessionmaker(autoflush=False))", "sessionmaker()")
    write(shop, {"src/shop/database.py": f"{named}    scoped = scoped_session(db_session)\n"})
    assert 'db_bind = ["shop.database:db_session"]' in plan.make(shop).changes[-1].after


FLAT = {
    "pyproject.toml": PYPROJECT,
    "shop/database.py": DATABASE,
    "shop/orders/models.py": MODELS.replace("..database", "shop.database"),
    "tests/test_orders.py": TESTS,
}
"""A package without `__init__.py`."""


def test_package_without_init(shop: Path, command: Command, pytester: pytest.Pytester) -> None:
    """It is imported as the project's own modules import it, and so its engine is bound."""
    write(shop, FLAT)
    assert command("init", "--yes", "--json")[0] == 0
    assert "from shop.database import Base\n" in (shop / "tests/conftest.py").read_text()
    after = (shop / "pyproject.toml").read_text()
    assert 'pythonpath = ["."]' in after
    assert '"shop.database:engine"' in after
    assert passed(pytester) == 2


@pytest.mark.parametrize("package", [{}, {"shop/__init__.py": "", "shop/orders/__init__.py": ""}])
def test_folder_of_a_package(
    shop: Path,
    command: Command,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    package: dict[str, str],
) -> None:
    """Where init is run inside of a package, its modules keep the names that they import."""
    files = {name: text for name, text in FLAT.items() if not name.startswith("tests/")}
    write(shop, files | package | {"shop/tests/test_orders.py": TESTS})
    monkeypatch.chdir(shop / "shop")
    assert command("init", "--yes", "--json")[0] == 0
    assert "from shop.database import Base\n" in (shop / "shop/tests/conftest.py").read_text()
    assert "shop.database:engine" in (shop / "shop/pytest.ini").read_text()
    assert passed(pytester) == 2


def test_folder_that_is_called_like_its_package(shop: Path) -> None:
    """It is not taken for the package, though modules lie beside that."""
    folder = shop / "shop"
    write(folder, FLAT | {"database.py": "x = 1\n"})
    [conftest, configuration] = plan.make(folder).changes
    assert "from shop.database import Base\n" in conftest.after
    assert 'pythonpath = ["."]' in configuration.after


@pytest.mark.parametrize(
    ("files", "configured", "expected"),
    [
        pytest.param(["test_a.py", "tests/conftest.py"], "", "conftest.py", id="root"),
        pytest.param(["tests/api/test_a.py"], "", "tests/conftest.py", id="one folder"),
        pytest.param(["unit/test_a.py", "api/test_b.py"], "", "conftest.py", id="two folders"),
        pytest.param(
            ["checks/unit/test_a.py", "checks/api/test_b.py", "test_c.py"],
            "testpaths = checks/unit checks/api checks/none",
            "checks/conftest.py",
            id="testpaths",
        ),
        pytest.param(
            ["a/tests/test_a.py", "b/tests/test_b.py"], "testpaths = */tests", "conftest.py", id="*"
        ),
        pytest.param(["tests/test_a.py"], "testpaths = none", "tests/conftest.py", id="none"),
    ],
)
def test_where_the_conftest_goes(
    shop: Path, files: list[str], configured: str, expected: str
) -> None:
    """All tests see it, wherever they lie."""
    tests = dict.fromkeys(files, "def test_one(): pass\n")
    source = {name: text for name, text in SRC.items() if not name.startswith("tests/")}
    write(shop, source | tests | {"pytest.ini": f"[pytest]\n{configured}\n"})
    assert plan.make(shop).changes[0].path == shop / expected


def test_schema_that_some_tests_do_not_see(shop: Path) -> None:
    """One of other tests does not count; where each test has one, none is added."""
    schema = "import pytest\n@pytest.fixture\ndef db_schema(): pass\n"
    files = {
        "tests/unit/test_a.py": "",
        "tests/api/test_b.py": "",
        "tests/unit/conftest.py": schema,
    }
    write(shop, SRC | {"tests/test_orders.py": schema} | files)
    assert plan.make(shop).changes[0].path == shop / "tests/conftest.py"
    write(shop, {"tests/api/conftest.py": schema})
    assert [each.path.name for each in plan.make(shop).changes] == ["pyproject.toml"]


def test_module_in_another_encoding(shop: Path) -> None:
    """A test module with a coding cookie is read as Python reads it."""
    write(shop, SRC)
    latin = "# -*- coding: latin-1 -*-\n# é\nimport pytest\npytestmark = pytest.mark.anyio\n"
    (shop / "tests/test_latin.py").write_bytes(latin.encode("latin-1"))
    assert "asyncio_mode" not in plan.make(shop).changes[1].after


@pytest.mark.parametrize("header", ["[pytest]   # ours", "[pytest] ; ours"])
def test_section_with_a_comment(shop: Path, header: str) -> None:
    """Settings go into the section that is there, as pytest finds it."""
    write(shop, SRC | {"pytest.ini": f"{header}\naddopts = -ra\n"})
    after = plan.make(shop).changes[1].after
    assert after.startswith(f"{header}\naddopts = -ra\nasyncio_mode = auto\n")
    assert after.count("[pytest]") == 1


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("setup.cfg", "[tool:pytest]\r\naddopts = -ra\r\n"),
        ("pyproject.toml", "[project]\r\nname = 'shop'\r\n"),
    ],
)
def test_line_ends_of_windows(shop: Path, name: str, before: str) -> None:
    """Every line of a file ends as those do that were there."""
    write(shop, {each: text for each, text in SRC.items() if each != "pyproject.toml"})
    (shop / name).write_bytes(before.encode())
    after = plan.make(shop).changes[1].after
    assert "asyncio_mode" in after
    assert after.count("\n") == after.count("\r\n")


def test_engine_of_a_script(shop: Path) -> None:
    """What no module imports is not the application's, unless there is nothing else."""
    script = "from sqlalchemy import create_engine\nseeding = create_engine(URL)\n"
    write(shop, SRC | {"scripts/seed.py": script})
    configuration = plan.make(shop).changes[1].after
    assert "seed" not in configuration
    assert 'pythonpath = ["src"]' in configuration
    bare = DATABASE.partition("engine =")[0]
    write(shop, {"src/shop/database.py": bare})
    assert "seed:seeding" in plan.make(shop).changes[1].after
