"""Settings: who says which server, what is refused at start-up, and what is never shown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from db_testing import _settings
from db_testing._server import _server
from db_testing.errors import SetupError

LIGHT = """
import sys
import db_testing.plugin
from db_testing._server import _server
_server.describe("embedded")
_server.describe("postgresql://u:p@h/d")
print(sorted({name.split(".")[0] for name in sys.modules} & {"sqlalchemy", "asyncpg", "alembic"}))
"""

PRINT = """
    from db_testing._plugin import _state
    def test_server(pytestconfig):
        print("SERVER", _state.settings(pytestconfig).server)
"""


def test_loading_the_plugin_imports_no_database_package() -> None:
    """A run without database tests, header included, does not pay for SQLAlchemy and asyncpg."""
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "ini", "server"),
    [
        (["--db-server=postgresql://a"], "postgresql://b", "postgresql://c", "postgresql://a"),
        ([], "postgresql://b", "postgresql://c", "postgresql://b"),
        ([], "", "postgresql://c", "postgresql://c"),
        ([], "", "", "auto"),
        (["--db-server=system:15"], "", "", "system:15"),
        (["--db-server=embedded"], "postgresql://b", "", "embedded"),
    ],
)
def test_command_line_goes_before_environment_before_ini(  # noqa: PLR0917  # the cases' columns
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: str,
    ini: str,
    server: str,
) -> None:
    """The nearest word about the server counts; an empty variable is none."""
    monkeypatch.setenv("DB_TESTING_SERVER", environment)
    setting = f"db_server = {ini}" if ini else ""
    pytester.makeini(f"[pytest]\nasyncio_default_fixture_loop_scope = function\n{setting}")
    pytester.makepyfile(PRINT)
    pytester.runpytest("-s", *arguments).stdout.fnmatch_lines([f"*SERVER {server}"])


@pytest.mark.parametrize(
    "value", ["embeded", "system:", "system:x", "mysql://root:s3cret@h/d", "u:s3cret@h", "/run/pg"]
)
def test_server_of_another_kind_is_a_usage_error(pytester: pytest.Pytester, value: str) -> None:
    """A server that cannot be meant ends the run before it begins; no password is shown."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    result = pytester.runpytest(f"--db-server={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *the server *is neither auto, embedded or system, *nor a postgresql:// URL."]
    )
    assert "s3cret" not in result.stderr.str() + result.stdout.str()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql://u@h:1/d?x=1", "postgresql://u@h:1/d?x=1"),
        ("postgresql://u:secret@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:se/cr@et@h/d", "postgresql://u:***@h/d"),
        ("postgresql://:secret@/d?host=/run/pg", "postgresql://:***@/d?host=/run/pg"),
        ("postgresql://h/d?user=u&password=secret&x=1", "postgresql://h/d?user=u&password=***&x=1"),
        ("host=h password=secret dbname=d", "host=h password=*** dbname=d"),
        ("u:secret@h", "u:***@h"),
        ("postgresql+asyncpg://u:sec\nret@h", "postgresql+asyncpg://u:***@h"),
    ],
)
def test_password_is_hidden(url: str, shown: str) -> None:
    """Whatever may be a password is hidden, well-formed or not; the rest helps to find mistakes."""
    assert _settings.hide_password(url) == shown


def test_header_shows_the_server_without_its_password() -> None:
    """The driver is no news, and the password is nobody's business."""
    shown = _server.describe("postgresql+asyncpg://u:secret@h/d")
    assert shown == "postgresql://u:***@h/d"


def test_named_object_is_imported() -> None:
    """An attribute of an attribute can be named as well."""
    assert _settings.load("os:path.sep", what="the ini key db_schema") == "/"


FORM = 'It must have the form "package.module:attribute".'


@pytest.mark.parametrize(
    ("dotted", "reason", "remedy"),
    [
        ("nowhere.at.all:x", "No module named 'nowhere'", "named by the ini key pythonpath?"),
        ("os.nowhere:x", "No module named 'os.nowhere'", "Is it spelled so"),
        ("os:nothing", "has no attribute 'nothing'", "Is it spelled so?"),
        ("os", "AttributeError", 'The form is "package.module:attribute".'),
        ("", "Empty module name", FORM),
        ("nowhere.engine", "No module named 'nowhere'", FORM),
        ("antigravity_broken:x", "KeyError: 'DATABASE_URL'", "at the top of conftest.py"),
        ("antigravity_poor:x", "No module named 'nowhere'", "came from importing antigravity_poor"),
        ("antigravity_calls:make()", "has no attribute 'url'", "at the top of conftest.py"),
    ],
)
def test_object_that_cannot_be_imported_is_one_error(
    pytester: pytest.Pytester, dotted: str, reason: str, remedy: str
) -> None:
    """The error names key and value, whatever the module raises, and what can be done."""
    pytester.makepyfile(
        antigravity_broken="{}['DATABASE_URL']",
        antigravity_poor="import nowhere",
        antigravity_calls="def make():\n    return None.url",
    )
    pytester.syspathinsert()
    with pytest.raises(SetupError) as caught:
        _settings.load(dotted, what="the ini key db_schema")
    message = str(caught.value)
    assert f"the ini key db_schema = {dotted!r} cannot be imported: " in message
    assert reason in message
    assert remedy in message
