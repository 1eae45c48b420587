"""Settings of a run: one frozen object from the command line, the environment and the ini file."""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import pytest

from .errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

IsolationName: TypeAlias = Literal["rollback", "commit", "database"]
Choice: TypeAlias = Literal["rollback", "commit", "database", "auto"]
CHOICES: Final[tuple[Choice, ...]] = get_args(Choice)

Explain: TypeAlias = Literal["print", "apply"]
EXPLAIN: Final[tuple[Explain, ...]] = get_args(Explain)

LeaksAre: TypeAlias = Literal["report", "error"]
LEAKS_ARE: Final[tuple[LeaksAre, ...]] = get_args(LeaksAre)

AUTO: Final = "auto"
EMBEDDED: Final = "embedded"
SYSTEM: Final = "system"
OWN_SERVER: Final = re.compile(rf"({AUTO}|{EMBEDDED}|{SYSTEM})(?::(\d+))?")
"""A server of our own: where its programs come from, and the major version that is required."""
ENVIRONMENT_SERVER: Final = "DB_TESTING_SERVER"
WORKER_SERVER: Final = "db_testing_server"
"""What xdist hands to its workers: one on another machine has an environment of its own."""

OLDEST: Final = 14
"""The first major version of PostgreSQL that has all we ask of it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose."""

    server: str
    """As :data:`OWN_SERVER`, or the URL of a server on which the user may create databases."""
    isolation: Choice
    """What undoes a test that does not say."""
    schema: str | None
    """Where the application's schema is, as `module:attribute`."""
    session_options: str | None
    """Where the application's session options are, as `module:attribute`."""
    bind: tuple[str, ...]
    """Where the application's own engines and sessionmakers are, each as `module:attribute`."""
    leaks: LeaksAre
    """Whether a test that leaves something behind is listed only, or fails."""
    project: str
    run: str
    """Identity of the run: the same in all of its xdist workers, and in no other run."""
    worker: str
    """The xdist worker, or `"main"`."""
    report: Path | None = None
    """Where the report is written that can be merged with those of other machines."""
    keep_failed: bool = False
    """Whether the database of a test that fails is kept."""
    rebuild: bool = False
    """Whether templates are built anew although there are some."""
    keepalive: float = 0
    """Seconds for which a server of our own outlives the last run that uses it."""
    explain: Explain | None = None
    """Whether to say why tests were moved to commit isolation, and to mark them so."""


def add_options(parser: pytest.Parser) -> None:
    """Register the command line and ini options."""
    group = parser.getgroup("db-testing", "tests on real PostgreSQL")
    group.addoption(
        "--db-server",
        metavar="SERVER",
        help="where PostgreSQL comes from: embedded (a wheel), system (its programs on this "
        "machine), either with the major version that is required (system:15), auto (default: "
        "embedded, or else system), or the URL of a server on which databases may be created",
    )
    group.addoption(
        "--db-isolation",
        choices=CHOICES,
        help="what undoes each test: a rollback (default), a sweep after real commits, a "
        "database of its own for each, or auto: rollback, and commit where that cannot serve",
    )
    group.addoption(
        "--db-explain",
        nargs="?",
        const="print",
        choices=EXPLAIN,
        help="say why auto isolation has moved tests to commit isolation; with =apply, write the "
        "markers into the tests (pip install 'db-testing[explain]')",
    )
    group.addoption(
        "--db-keep-failed",
        action="store_true",
        help="keep the database of each test that fails, and print how to look at it",
    )
    group.addoption(
        "--db-report",
        metavar="PATH",
        help="write what each test did, and how long it took: a page for a browser (report.html), "
        "or JSON, of which db-testing report merge makes one report of several machines "
        "(pip install 'db-testing[report]')",
    )
    group.addoption(
        "--db-rebuild",
        action="store_true",
        help="build the templates of this run anew, although nothing tells that they are out of "
        "date",
    )
    parser.addini(
        "db_keepalive",
        "seconds for which a server of our own outlives the last run that uses it (0)",
        type="string",
        default="0",
    )
    parser.addini("db_server", "as --db-server", type="string", default=AUTO)
    parser.addini("db_isolation", "as --db-isolation", type="string", default="rollback")
    parser.addini(
        "db_schema", "module:attribute of the application's Schema", type="string", default=""
    )
    parser.addini(
        "db_leaks",
        '"report" (default) lists what tests leave behind; "error" makes such a test fail as well',
        type="string",
        default="report",
    )
    parser.addini(
        "db_session_options",
        "module:attribute of the application's session options (a mapping, a sessionmaker, or a "
        "function that returns one)",
        type="string",
        default="",
    )
    parser.addini(
        "db_bind",
        "module:attribute of each engine, sessionmaker, or function returning one, that the "
        "application uses itself: they lead to the test's database",
        type="linelist",
        default=[],
    )


def read(config: pytest.Config, *, run: str) -> Settings:
    """Read the settings: command line before environment before ini.

    Raises:
        pytest.UsageError: the server is no known kind and no PostgreSQL URL.
    """
    worker_input: Mapping[str, Any] = getattr(config, "workerinput", {})
    server: str = (
        worker_input.get(WORKER_SERVER)
        or config.getoption("db_server")
        or os.environ.get(ENVIRONMENT_SERVER)
        or config.getini("db_server")
    )
    if not is_server(server):
        message = (
            f"db-testing: the server {hide_password(server)!r} (from --db-server, "
            f"{ENVIRONMENT_SERVER} or the ini key db_server) is neither auto, embedded or system, "
            f"perhaps with a major version (system:15), nor a postgresql:// URL."
        )
        raise pytest.UsageError(message)
    isolation = config.getoption("db_isolation") or config.getini("db_isolation")
    if isolation not in CHOICES:
        message = f"db-testing: the ini key db_isolation = {isolation!r} is none of {CHOICES}."
        raise pytest.UsageError(message)
    leaks = config.getini("db_leaks")
    if leaks not in LEAKS_ARE:
        message = f"db-testing: the ini key db_leaks = {leaks!r} is none of {LEAKS_ARE}."
        raise pytest.UsageError(message)
    report = config.getoption("db_report")
    return Settings(
        server=server,
        isolation=isolation,
        schema=config.getini("db_schema") or None,
        session_options=config.getini("db_session_options") or None,
        bind=tuple(config.getini("db_bind")),
        leaks=leaks,
        project=config.rootpath.name,
        run=worker_input.get("testrunuid", run),
        worker=worker_input.get("workerid", "main"),
        report=config.invocation_params.dir / report if report else None,
        keep_failed=config.getoption("db_keep_failed"),
        rebuild=config.getoption("db_rebuild"),
        keepalive=_seconds(config.getini("db_keepalive")),
        explain=config.getoption("db_explain"),
    )


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    message = f"db-testing: the ini key db_keepalive = {text!r} is no number of seconds."
    raise pytest.UsageError(message)


def is_server(text: str) -> bool:
    """Tell whether a text names a server: one of our own, or by a URL."""
    url = text.startswith(("postgresql://", "postgresql+", "postgres://"))
    return url or OWN_SERVER.fullmatch(text) is not None


def hide_password(url: str) -> str:
    """Return a server's URL, which may be malformed, as it may be shown."""
    url = re.sub(r"(?i)(pass\w*=)[^&\s]*", r"\1***", url)
    # Up to the last @: of a password that ought to have been escaped, nothing is shown either.
    return re.sub(r"^((?:[^/]*//)?[^:/@]*):(?!//).*@", r"\1:***@", url, flags=re.DOTALL)


ENVIRONMENT: Final = (
    "What it needs of the environment is set at the top of conftest.py, as in "
    'os.environ["DATABASE_URL"] = "postgresql+asyncpg://nowhere/test": nothing connects there.'
)
"""What to do where the application cannot be set up, mostly for want of a variable."""


def load(dotted: str, *, what: str) -> Any:
    """Import what a setting, such as `"the ini key db_schema"`, names as `module:attribute`.

    What ends in `()` is called, as in `module:get_settings().database`.

    Raises:
        SetupError: there is no such module or attribute, or importing it fails.
    """
    step = functools.partial(_step, what, dotted)
    module_name, _, attribute = dotted.partition(":")
    with step(functools.partial(_why_no_import, module_name, attribute)):
        value: Any = importlib.import_module(module_name)
    for part in attribute.split("."):
        with step(_why_no_attribute):
            value = getattr(value, part.removesuffix("()"))
        if part.endswith("()"):
            with step(lambda _: ENVIRONMENT):
                value = value()
    return value


@contextlib.contextmanager
def _step(what: str, dotted: str, why: Callable[[Exception], str]) -> Iterator[None]:
    """Take a step towards what a setting names; `why` says what may be wrong where it fails."""
    try:
        yield
    except Exception as error:
        # A module of the application, which may raise anything.
        raise SetupError(
            f"{what} = {dotted!r} cannot be imported: {type(error).__name__}: {error}. {why(error)}"
        ) from error


def _why_no_import(module: str, attribute: str, error: Exception) -> str:
    if not attribute or not module:
        return 'It must have the form "package.module:attribute".'
    if isinstance(error, ModuleNotFoundError) and _is_within(module, error.name):
        return (
            "Is it spelled so, and its project installed, or the folder that it lies in named by "
            "the ini key pythonpath?"
        )
    return f"That came from importing {module}. {ENVIRONMENT}"


def _why_no_attribute(error: Exception) -> str:
    if isinstance(error, AttributeError):
        return 'Is it spelled so? The form is "package.module:attribute".'
    return ENVIRONMENT


def _is_within(module: str, package: str | None) -> bool:
    """Tell whether a package is what could not be found on the way to a module."""
    return f"{module}.".startswith(f"{package}.")
