"""Schema.from_alembic: real migration folders, and everything that can be wrong with them."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from db_testing._schema import _alembic_folders
from db_testing._template import _template
from db_testing.errors import SchemaError
from db_testing.schema import Schema

from .conftest import names_of, tables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.engine import URL

    from db_testing._server._admin import Admin
    from db_testing.schema import SchemaLike

ASYNC_ENV = """
import asyncio
from logging.config import fileConfig
from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import async_engine_from_config

config = context.config
fileConfig(config.config_file_name)

def do_run_migrations(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def run():
    section = config.get_section(config.config_ini_section)
    engine = async_engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(do_run_migrations)
    await engine.dispose()

asyncio.run(run())
"""

SYNC_ENV = """
from alembic import context
from sqlalchemy import engine_from_config, pool

config = context.config
section = config.get_section(config.config_ini_section)
engine = engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

INI = """
[alembic]
script_location = %(here)s/migrations
sqlalchemy.url = postgresql://nobody@nowhere/nothing

[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = ERROR
handlers = console
[handler_console]
class = StreamHandler
formatter = plain
[formatter_plain]
format = %%(message)s
"""

MIGRATION = """
from alembic import op
import sqlalchemy as sa

revision = {revision!r}
down_revision = {down!r}
branch_labels = None
depends_on = None

def upgrade():
    {upgrade}
"""

RECORD = "file = open({!r}, 'a'); file.write(revision + ' '); file.close()"


class Project:
    """A folder with an alembic.ini and migrations."""

    def __init__(self, folder: Path, env: str = ASYNC_ENV) -> None:
        """Write it, without a migration."""
        self.folder = folder
        self.ini = folder / "alembic.ini"
        self.ini.write_text(INI)
        self.migrations = folder / "migrations"
        (self.migrations / "versions").mkdir(parents=True)
        self.env = self.migrations / "env.py"
        self.env.write_text(env)

    def add(self, revision: str, upgrade: str, *, down: str | None = None) -> Path:
        """Write a migration."""
        path = self.migrations / "versions" / f"{revision}.py"
        path.write_text(MIGRATION.format(revision=revision, down=down, upgrade=upgrade))
        return path

    def table(self, name: str, revision: str, *, down: str | None = None) -> Path:
        """Write a migration that makes a table."""
        column = "sa.Column('id', sa.Integer, primary_key=True)"
        return self.add(revision, f"op.create_table({name!r}, {column})", down=down)

    @property
    def schema(self) -> Schema:
        """The schema."""
        return Schema.from_alembic(self.ini)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project with two migrations and the usual asynchronous env.py."""
    project = Project(tmp_path)
    project.table("first", "aaa1")
    project.table("second", "aaa2", down="aaa1")
    return project


@pytest.mark.parametrize("env", [ASYNC_ENV, SYNC_ENV], ids=["async", "sync"])
def test_migrations_are_applied(project: Project, empty: URL, env: str) -> None:
    """All migrations run, whether env.py is asynchronous or synchronous."""
    project.env.write_text(env)
    project.schema.apply(empty)
    assert tables_of(empty) == ["public.alembic_version", "public.first", "public.second"]


def test_every_head_is_applied(project: Project, empty: URL) -> None:
    """A history with two branches is applied to both ends."""
    project.table("branch", "bbb2", down="aaa1")
    project.schema.apply(empty)
    assert "public.branch" in tables_of(empty)
    assert "public.second" in tables_of(empty)


def test_history_without_migrations_is_no_error(tmp_path: Path, empty: URL) -> None:
    """A project that has no migration yet has an empty database."""
    Project(tmp_path).schema.apply(empty)
    assert "public.first" not in tables_of(empty)


def test_loggers_of_the_application_are_untouched(project: Project, empty: URL) -> None:
    """The usual env.py disables every logger; tests must not depend on a template being built."""
    root, mine = logging.getLogger(), logging.getLogger("application")
    handlers = root.handlers[:]
    before = (root.level, mine.disabled, mine.level, mine.propagate)
    project.schema.apply(empty)
    assert (root.level, mine.disabled, mine.level, mine.propagate) == before
    assert root.handlers == handlers


def test_handlers_of_the_application_stay_open(project: Project, empty: URL) -> None:
    """`fileConfig` shuts every handler down, and a file of mode w stays closed, as --log-file's."""
    path = project.folder / "log"
    handler = logging.FileHandler(path, mode="w")
    handler.set_name("application's")
    mine = logging.getLogger("application")
    mine.addHandler(handler)
    known, names = vars(logging)["_handlerList"], vars(logging)["_handlers"]
    before = [*known]
    try:
        project.schema.apply(empty)
        mine.error("heard")
        assert path.read_text() == "heard\n"
        assert known[: len(before)] == before  # shut down as the process ends
        assert names["application's"] is handler
    finally:
        mine.removeHandler(handler)
        handler.close()


def test_nothing_is_printed(
    project: Project, empty: URL, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alembic's progress would stand between the tests' results."""
    project.schema.apply(empty)
    assert capsys.readouterr().out == ""


def test_fingerprint_follows_what_migrations_are_made_of(project: Project) -> None:
    """A migration, env.py, the ini file and any file that a migration may read all count."""
    prints = [project.schema.fingerprint()]
    path = project.add("aaa3", "op.execute('SELECT 1')", down="aaa2")
    prints.append(project.schema.fingerprint())
    path.write_text(path.read_text() + "# changed\n")
    prints.append(project.schema.fingerprint())
    path.rename(path.with_name("renamed.py"))
    prints.append(project.schema.fingerprint())
    project.env.write_text(ASYNC_ENV + "# changed\n")
    prints.append(project.schema.fingerprint())
    project.ini.write_text(INI + "\n# changed\n")
    prints.append(project.schema.fingerprint())
    (project.migrations / "countries.csv").write_text("CH,Schweiz")
    prints.append(project.schema.fingerprint())
    assert len(set(prints)) == len(prints)


def test_fingerprint_follows_each_folder_of_migrations(project: Project) -> None:
    """Two files may have one name; and which of them has gone makes a difference."""
    folders = " ".join(f"%(here)s/{name}" for name in ("one", "other", "migrations/versions"))
    locations = f"path_separator = space\nversion_locations = {folders}\n"
    project.ini.write_text(INI.replace("[alembic]\n", f"[alembic]\n{locations}"))
    paths = []
    for name, revision, down in (("one", "aaa3", "aaa2"), ("other", "bbb1", "aaa3")):
        (project.folder / name).mkdir()
        path = project.table(name, revision, down=down)
        paths.append(path.rename(project.folder / name / "namesake.py"))
    prints = [project.schema.fingerprint()]
    for path in paths:
        path.write_text(path.read_text() + "# changed\n")
        prints.append(project.schema.fingerprint())
    ancestors = project.schema.ancestors()
    paths[1].unlink()
    prints.append(project.schema.fingerprint())
    assert len(set(prints)) == len(prints)
    assert ancestors == [prints[-1], *project.schema.ancestors()]


def test_files_are_read_once(project: Project, read: list[str]) -> None:
    """A fingerprint, and those of the templates on the way to it, are made of the same reading."""
    schema = project.schema
    ancestors = schema.ancestors()
    schema.fingerprint()
    read.clear()
    assert schema.ancestors() == ancestors
    assert not read


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a package of the application's own, with roles and a model in it."""
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "__init__.py").write_text("")
    (shop / "roles.py").write_text("from shop.names import ADMIN\nROLES = [ADMIN]\n")
    (shop / "names.py").write_text("ADMIN = 'admin'\n")
    (shop / "models.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield shop
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def test_fingerprint_follows_what_migrations_import(project: Project, shop: Path) -> None:
    """The application's constants count as if they stood there; models that env.py has, do not."""
    path = project.table("third", "aaa3", down="aaa2")
    before = project.schema.ancestors()
    path.write_text("from shop.roles import ROLES\n" + path.read_text())
    project.env.write_text(ASYNC_ENV + "from shop import models\n")
    prints = [project.schema.fingerprint()]
    (shop / "models.py").write_text("class Author: ...\n")
    assert project.schema.fingerprint() == prints[0]
    without = project.schema.ancestors()
    assert without != before  # by env.py
    for name in ("names", "__init__", "roles"):
        (shop / f"{name}.py").write_text("ADMIN = 'root'\n")
        prints.append(project.schema.fingerprint())
    assert len(set(prints)) == len(prints)
    assert project.schema.ancestors() == without


def test_new_migration_is_all_that_is_run(
    project: Project,
    template: Callable[[SchemaLike], str],
    clone: Callable[[str], URL],
    unique: str,
) -> None:
    """It goes on from the template of those that were there before it, also after several."""
    ran = project.folder / "ran"
    record = RECORD.format(str(ran))
    project.add("bbb1", f"op.execute('CREATE TABLE {unique} ()'); {record}", down="aaa2")
    template(project.schema)
    assert ran.read_text() == "bbb1 "
    project.add("bbb2", f"op.execute('ALTER TABLE {unique} RENAME TO new'); {record}", down="bbb1")
    project.add("bbb3", f"op.execute((DIR / 'bbb3.sql').read_text()); {record}", down="bbb2")
    sql = project.migrations / "versions" / "bbb3.sql"
    sql.write_text("CREATE TABLE third ()")
    migration = sql.with_suffix(".py")
    begin = "from pathlib import Path\nDIR = Path(__file__).parent\n"
    migration.write_text(begin + migration.read_text())
    name = template(project.schema)
    assert ran.read_text() == "bbb1 bbb2 bbb3 "
    tables = ["alembic_version", "first", "new", "second", "third"]
    assert tables_of(clone(name)) == [f"public.{table}" for table in tables]


def test_changed_migration_is_run_with_all_after_it(
    project: Project, template: Callable[[SchemaLike], str], unique: str
) -> None:
    """Only those before it can have been run as they are now."""
    ran = project.folder / "ran"
    record = RECORD.format(str(ran))
    project.add("bbb1", f"op.execute('CREATE TABLE {unique} ()'); {record}", down="aaa2")
    second = project.add("bbb2", record, down="bbb1")
    project.add("bbb3", record, down="bbb2")
    template(project.schema)
    second.write_text(second.read_text() + "# changed\n")
    template(project.schema)
    assert ran.read_text() == "bbb1 bbb2 bbb3 bbb1 bbb2 bbb3 "
    project.env.write_text(ASYNC_ENV + "# changed\n")
    template(project.schema)
    assert ran.read_text() == 3 * "bbb1 bbb2 bbb3 "


def test_fingerprint_ignores_what_migrations_cannot_depend_on(project: Project, empty: URL) -> None:
    """Caches of bytecode, a changed README and the template of new migrations change nothing."""
    before = project.schema.fingerprint()
    project.schema.apply(empty)
    (project.migrations / "README").write_text("Generic single-database configuration.")
    (project.migrations / "script.py.mako").write_text("${message}")
    (project.migrations / ".env.py.swp").write_text("an editor's")
    cache = project.migrations / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "env.cpython-311.pyc").write_bytes(b"")
    assert project.schema.fingerprint() == before


def test_fingerprint_does_not_depend_on_the_place(project: Project, tmp_path: Path) -> None:
    """Two checkouts of one repository share a template."""
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Project(tmp_path / "elsewhere")
    elsewhere.table("first", "aaa1")
    elsewhere.table("second", "aaa2", down="aaa1")
    assert elsewhere.schema.fingerprint() == project.schema.fingerprint()


def test_relative_path_is_looked_for_upwards(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests may be started in the repository's root or in any folder below."""
    below = project.folder / "a" / "b"
    below.mkdir(parents=True)
    for folder in (project.folder, below):
        monkeypatch.chdir(folder)
        assert repr(Schema.from_alembic("alembic.ini")) == f"Schema.from_alembic('{project.ini}')"


@pytest.mark.parametrize("separator", ["", "path_separator = os\n", "path_separator = newline\n"])
def test_folders_are_looked_for_beside_the_ini(
    project: Project, empty: URL, separator: str, monkeypatch: pytest.MonkeyPatch, unique: str
) -> None:
    """Alembic looks for them in the current folder, which for its users is that of the ini file."""
    if separator and not toml_is_known():
        pytest.skip("path_separator is Alembic 1.16's")
    name = "more of them" if separator else "more"
    (project.folder / name).mkdir()
    project.table("other", "bbb1").rename(project.folder / name / "bbb1.py")
    (project.folder / "code").mkdir()
    (project.folder / "code" / f"{unique}.py").touch()
    project.env.write_text(f"import {unique}\n{SYNC_ENV}")
    between = {"": " ", "path_separator = os\n": os.pathsep}.get(separator, "\n  ")
    more = name if separator else str(project.folder / name)
    places = f"version_locations = {between.join(['migrations/versions', more])}\n"
    paths = f"prepend_sys_path = {between.join(['.', 'code'])}\n"
    location = "script_location = %(here)s/migrations\n"
    relative = f"script_location = migrations\n{separator}{places}{paths}"
    project.ini.write_text(INI.replace(location, relative))
    monkeypatch.setattr(sys, "path", sys.path[:])
    schema = project.schema
    monkeypatch.chdir(project.folder)
    print_of = schema.fingerprint()
    (project.folder / "tests").mkdir()
    monkeypatch.chdir(project.folder / "tests")
    assert schema.fingerprint() == print_of
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in {".", "code"}])
    schema.apply(empty)
    assert tables_of(empty) == sorted([*MADE, "public.other"])


def test_relative_folder_of_pyproject(
    project: Project, empty: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for beside the file as well."""
    if not toml_is_known():
        pytest.skip("Alembic 1.16 reads it")
    project.ini.unlink()
    place = '[tool.alembic]\nscript_location = "migrations"\n'
    (project.folder / "pyproject.toml").write_text(place)
    project.env.write_text(TOML_ENV)
    (project.folder / "tests").mkdir()
    monkeypatch.chdir(project.folder / "tests")
    Schema.from_alembic("pyproject.toml").apply(empty)
    assert tables_of(empty) == MADE


def test_old_separator_is_of_migrations_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the ini file: what leads imports is told apart by spaces, commas and colons."""
    for name in ("code", "more of them", "tests"):
        (project.folder / name).mkdir()
    config = Config()
    config.file_config.read_string(
        "[alembic]\nscript_location = migrations\nversion_path_separator = os\n"
        "version_locations = migrations/versions:more of them\nprepend_sys_path = . code"
    )
    monkeypatch.chdir(project.folder / "tests")
    _alembic_folders.look_beside(config.file_config, "alembic", {}, project.folder)
    options = dict(config.file_config.items("alembic", raw=True))
    assert options["version_locations"] == "%(here)s/migrations/versions:%(here)s/more of them"
    assert options["prepend_sys_path"] == "%(here)s/. %(here)s/code"


PLAIN = [
    "script_location = %(here)s/migrations",
    "script_location = %(here)s/migrations\nprepend_sys_path = .",
    "script_location = migrations\nprepend_sys_path = %(here)s/code",
    "script_location = %(root)s/migrations\nroot = %(here)s\nfile_template = %%(rev)s",
]
NOT_PLAIN = [
    "script_location = %(here)s/migrations\nversion_locations = %(here)s/more",
    "script_location = a_package:migrations",
    "script_location = %(here)s/migrations\nprepend_sys_path = . code",
    "script_location = %(here)s/migrations\nprepend_sys_path = .:code",
    "script_location = %(here)s/nowhere",
    "script_location = %(nowhere)s/migrations",
    "file_template = %%(rev)s",
]


@pytest.mark.parametrize("options", PLAIN)
def test_folders_in_plain_words(
    project: Project, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    """What is read without Alembic is what Alembic reads, and leads imports to the same folders."""
    project.ini.write_text(f"[alembic]\n{options}\n")
    monkeypatch.chdir(project.folder)
    before = [place for place in sys.path if place != "."]
    monkeypatch.setattr(sys, "path", before[:])
    plain, led = _alembic_folders.plain(project.ini), sys.path
    monkeypatch.setattr(sys, "path", before[:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = ScriptDirectory.from_config(Config(project.ini))
    assert plain == _alembic_folders.Folders.of(script)
    assert led == sys.path


@pytest.mark.parametrize("options", NOT_PLAIN)
def test_folders_that_alembic_knows_of(
    project: Project, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    """Whatever may mean more, or is wrong, is left to Alembic."""
    project.ini.write_text(f"[alembic]\n{options}\n")
    monkeypatch.setattr(sys, "path", before := sys.path[:])
    assert _alembic_folders.plain(project.ini) is None
    assert sys.path == before


def test_fingerprint_imports_no_alembic(project: Project) -> None:
    """Where there is a template already, that would take longer than to read 300 migrations."""
    code = (
        "import sys; from db_testing import Schema\n"
        f"print(Schema.from_alembic({str(project.ini)!r}).fingerprint(), 'alembic' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [project.schema.fingerprint(), "False"]


def test_missing_ini_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where it was looked for, and how to make it unmistakable."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SchemaError) as caught:
        Schema.from_alembic("nowhere/alembic.ini")
    message = str(caught.value)
    assert f"there is no such file in {tmp_path} or a folder above it" in message
    assert "Give an absolute path" in message


def test_missing_alembic_is_one_error(
    project: Project, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alembic is an optional dependency; the error says which extra brings it."""
    for name in [name for name in sys.modules if name.split(".")[0] == "alembic"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "alembic", None)
    with pytest.raises(SchemaError, match=r"needs Alembic.* Install db-testing\[alembic\]"):
        _template.fingerprint(admin, project.schema)


OLD_SEPARATOR = "version_locations = %(here)s/migrations/versions\nversion_path_separator = os"


@pytest.mark.parametrize("options", ["prepend_sys_path = .", OLD_SEPARATOR])
def test_old_ini_where_warnings_are_errors(project: Project, empty: URL, options: str) -> None:
    """Most projects' files are older than Alembic 1.16, which warns of what they lack."""
    project.ini.write_text(INI.replace("[alembic]", f"[alembic]\n{options}"))
    project.schema.fingerprint()
    project.schema.apply(empty)
    assert tables_of(empty) == MADE


def test_failing_migration_is_named(project: Project, empty: URL) -> None:
    """The error shows the line of the migration and what the server said."""
    path = project.add("aaa3", "op.execute('SELECT wrong')", down="aaa2")
    line = path.read_text().splitlines().index("    op.execute('SELECT wrong')") + 1
    with pytest.raises(SchemaError) as caught:
        project.schema.apply(empty)
    assert f"failed in {path}, line {line}: ProgrammingError: " in str(caught.value)
    assert 'column "wrong" does not exist' in str(caught.value)


def test_history_that_cannot_be_read_is_one_error(project: Project, admin: Admin) -> None:
    """An ini file without a folder of migrations, or with a wrong one, is the user's to mend."""
    project.ini.write_text("[alembic]\nscript_location = nowhere\n")
    schema = project.schema
    with pytest.raises(SchemaError, match=r"has no fingerprint: CommandError: .*nowhere"):
        _template.fingerprint(admin, schema)


def test_failing_migration_leaves_no_database(project: Project, admin: Admin) -> None:
    """A template is complete or not there."""
    project.add("aaa3", "raise RuntimeError('half way')", down="aaa2")
    print_of = _template.fingerprint(admin, project.schema)
    with pytest.raises(SchemaError, match="RuntimeError: half way"):
        _template.ensure(admin, project.schema, print_of)
    assert admin.run(names_of, admin, print_of[:24]) == []


def test_env_that_ignores_the_url_is_one_error(project: Project, empty: URL) -> None:
    """Migrations that went into another database would leave every test without a table."""
    project.env.write_text("from alembic import context\ncontext.config.get_main_option('x')\n")
    with pytest.raises(SchemaError, match=r"left the test database empty: its env.py connects"):
        project.schema.apply(empty)


def test_env_that_ends_the_process_is_one_error(project: Project, admin: Admin) -> None:
    """It may miss a setting, and end Alembic's command so; the tests' process has other tests."""
    project.env.write_text("import sys\nsys.exit('DATABASE_URL is not set')\n")
    with pytest.raises(SchemaError, match=r"SystemExit: DATABASE_URL is not set"):
        _template.ensure(admin, project.schema, _template.fingerprint(admin, project.schema))


def test_env_that_fails_is_named(project: Project, empty: URL) -> None:
    """What an env.py raises is shown with its line."""
    project.env.write_text("import nothing_of_that_name\n")
    with pytest.raises(SchemaError, match=r"failed in .*env\.py, line 1: ModuleNotFoundError"):
        project.schema.apply(empty)


MADE = ["public.alembic_version", "public.first", "public.second"]

SETTINGS_ENV = """
import os
from alembic import context
from application_settings import cached, settings
from sqlalchemy import create_engine, pool

url = {reads}
engine = create_engine(url, poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

SETTINGS = """
from functools import lru_cache
from urllib.parse import urlsplit

from sqlalchemy import make_url

class Secret:
    def __init__(self, value):
        self.value = value

    def get_secret_value(self):
        return self.value

class WithHost:  # as pydantic's PostgresDsn is
    def __init__(self, text):
        assert urlsplit(text).hostname, "empty host"
        self.text = text

    def __str__(self):
        return self.text

class Settings:
    text = "postgresql+{driver}://production/production"
    dsn = WithHost(text)
    url = make_url(text)
    secret = Secret(text)
    nothing = None

settings = Settings()
plain = "postgresql+{driver}://production/production"

@lru_cache
def cached():
    return Settings()

def made_anew():
    return Settings()
"""


@pytest.fixture
def settings(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Let env.py read what it reads from the application's own settings."""

    def write(reads: str, driver: str) -> None:
        project.env.write_text(SETTINGS_ENV.format(reads=reads))
        module = project.folder / "application_settings.py"
        module.write_text(SETTINGS.replace("{driver}", driver))
        monkeypatch.syspath_prepend(project.folder)
        monkeypatch.delitem(sys.modules, "application_settings", raising=False)
        monkeypatch.setenv("URL_OF_THE_APPLICATION", "postgresql+psycopg://production/production")

    return write


@pytest.mark.parametrize(
    ("setting", "reads"),
    [
        ("application_settings:settings.text", "settings.text"),
        ("application_settings:settings.url", "settings.url"),
        ("application_settings:settings.dsn", "str(settings.dsn)"),
        ("application_settings:cached().text", "cached().text"),
        ("application_settings:settings.secret", "settings.secret.get_secret_value()"),
        ("application_settings:settings.nothing", "settings.nothing"),
        ("application_settings:plain", "__import__('application_settings').plain"),
        ("os:environ.URL_OF_THE_APPLICATION", "os.environ['URL_OF_THE_APPLICATION']"),
        ("os:environ.URL_OF_NOBODY", "os.environ['URL_OF_NOBODY']"),
    ],
)
def test_setting_of_the_application(
    project: Project,
    empty: URL,
    settings: Callable[[str, str], None],
    setting: str,
    reads: str,
) -> None:
    """It leads to the test database with its own driver and type, and is restored afterwards."""
    settings(reads, "psycopg")
    module = importlib.import_module("application_settings")
    before = dict(os.environ), dict(vars(module.settings)), module.plain
    secret = module.settings.secret
    Schema.from_alembic(project.ini, url_setting=setting).apply(empty)
    assert tables_of(empty) == MADE
    assert (dict(os.environ), module.plain) == (before[0], before[2])
    assert module.settings.text == module.settings.secret.value == module.plain
    assert (module.settings.secret, module.settings.nothing) == (secret, None)


def test_setting_keeps_its_driver(
    project: Project, empty: URL, settings: Callable[[str, str], None]
) -> None:
    """A synchronous env.py whose URL is for asyncpg is led through it all the same."""
    settings("settings.text", "asyncpg")
    setting = "application_settings:settings.text"
    Schema.from_alembic(project.ini, url_setting=setting).apply(empty)
    assert tables_of(empty) == MADE


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_env_is_kept_from_other_databases(
    project: Project, empty: URL, settings: Callable[[str, str], None], driver: str
) -> None:
    """It would migrate what the application's settings name, which may be production."""
    settings("settings.text", driver)
    with pytest.raises(SchemaError, match=r"'production' on production, which is not the test .*"):
        project.schema.apply(empty)
    project.env.write_text(SYNC_ENV)
    project.schema.apply(empty)  # nothing is refused any more that leads to the right one


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("application_settings:nothing.url", "AttributeError: .*has no attribute 'nothing'"),
        ("application_settings:settings.missing", "AttributeError: .*has no attribute 'missing'"),
        ("application_settings:made_anew().text", "made_anew\\(\\) returns another object each"),
        ("nowhere:url", "ModuleNotFoundError: No module named 'nowhere'"),
        ("url", "ValueError: Empty module name"),
    ],
)
def test_setting_that_is_not_there(
    project: Project, empty: URL, settings: Callable[[str, str], None], setting: str, reason: str
) -> None:
    """The error says what was wrong, and what form a setting has."""
    settings("settings.text", "psycopg")
    schema = Schema.from_alembic(project.ini, url_setting=setting)
    with pytest.raises(SchemaError, match=rf"(?s)cannot be set: .*{reason}.*os:environ"):
        schema.apply(empty)


TOML = """
[project]
name = "application"

[tool.alembic]
script_location = "%(here)s/migrations"
"""

TOML_ENV = SYNC_ENV.replace("config.get_section(config.config_ini_section)", "{}").replace(
    "engine_from_config(section,",
    "engine_from_config({'sqlalchemy.url': config.get_main_option('sqlalchemy.url')},",
)


def toml_is_known() -> bool:
    """Tell whether the Alembic that is installed reads pyproject.toml."""
    return "toml_file" in inspect.signature(Config).parameters


@pytest.mark.parametrize("name", ["pyproject.toml", "alembic.ini"])
def test_pyproject(project: Project, empty: URL, name: str) -> None:
    """Alembic's settings may stand there, alone or beside an ini file with the loggers."""
    (project.folder / "pyproject.toml").write_text(TOML)
    project.env.write_text(TOML_ENV)
    if name == "alembic.ini":
        project.ini.write_text(INI.replace("script_location = %(here)s/migrations", ""))
    else:
        project.ini.unlink()
    schema = Schema.from_alembic(project.folder / name)
    if not toml_is_known():
        with pytest.raises(SchemaError, match=r"needs Alembic 1\.16"):
            schema.apply(empty)
        return
    schema.apply(empty)
    assert tables_of(empty) == MADE
    before = schema.fingerprint()
    toml = project.folder / "pyproject.toml"
    toml.write_text(toml.read_text().replace('"application"', '"another name"'))
    assert schema.fingerprint() == before
    toml.write_text(toml.read_text() + "timezone = 'UTC'\n")
    assert schema.fingerprint() != before


def test_pyproject_without_alembic_is_one_error(tmp_path: Path) -> None:
    """The error says what is not there."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(SchemaError, match=r"there is no \[tool.alembic\] in it"):
        Schema.from_alembic(tmp_path / "pyproject.toml")


def test_histories_of_their_own(project: Project, empty: URL) -> None:
    """Several bases, each with its own head, and one that depends on another's migration."""
    project.table("other", "bbb1")
    path = project.table("late", "bbb2", down="bbb1")
    path.write_text(path.read_text().replace("depends_on = None", "depends_on = 'aaa2'"))
    schema = project.schema
    schema.apply(empty)
    assert tables_of(empty) == sorted([*MADE, "public.late", "public.other"])
    assert len(schema.ancestors()) == len(set(schema.ancestors())) == 3


COVERED = """
from alembic import context
from db_testing.errors import SchemaError

try:
    raise SchemaError("an engine led elsewhere")
finally:
    context.config = {}["config"]  # as the proxies of a nested run are gone
"""


def test_error_that_alembic_covers(project: Project, empty: URL) -> None:
    """What was said first is what is shown."""
    project.env.write_text(COVERED)
    with pytest.raises(SchemaError, match="an engine led elsewhere"):
        project.schema.apply(empty)
