"""The command: `db-testing`, or `python -m db_testing`.

What tasks and other programs call stands here and needs nothing but the standard library. The
commands for people are in `_commands`, and need the extra `cli`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import _naming, _page, _results, _settings, _summary
from ._programs import run_program, run_psql
from .errors import DBTestingError, ReportError, ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAIN: Final = ("run", "psql", "report")
"""The commands that stand here."""

EXTRA: Final = ("typer", "rich", "libcst", "tomlkit", "click")
"""What the others import besides."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given and given[0] in PLAIN:
        return _main(given)
    try:
        from ._commands import program
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        print(
            f"db-testing: the module {package!r} is missing, which all commands but "
            f"{', '.join(PLAIN)} need: pip install 'db-testing[cli]'",
            file=sys.stderr,
        )
        return 1
    try:
        return program.run(given)
    except DBTestingError as error:
        print(f"db-testing: {error}", file=sys.stderr)
        return 1


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="db-testing")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a program on a database of the tests' server",
        description=(
            "Run a program on a database of the tests' own server, with the database's URL in an "
            "environment variable. The database is made on first use and kept. If the variable is "
            "set already, the program runs on what it says, and no server is started."
        ),
    )
    run.add_argument("--database", required=True, type=_database, help="the database's name")
    run.add_argument("--env", required=True, metavar="VARIABLE", help="gets the database's URL")
    run.add_argument("program", nargs="+", metavar="-- PROGRAM", help="and its arguments")
    psql = commands.add_parser(
        "psql",
        help="look at a database that --db-keep-failed has kept",
        description="Run psql on a database of the tests' own server, which is started if need be.",
    )
    psql.add_argument("database", help="the database's name")
    psql.add_argument("arguments", nargs="*", metavar="-- ARGUMENTS", help="of psql")
    report = commands.add_parser("report", help="what --db-report has written")
    merge = report.add_subparsers(required=True, metavar="ACTION").add_parser(
        "merge",
        help="make one report of those of several machines, and print its figures",
        description=(
            "Make one report of several: of the shards of a suite, or of several suites. Reports "
            "that hold the same test, or another state of the same suite, are refused."
        ),
    )
    merge.add_argument("reports", nargs="+", type=Path, metavar="REPORT")
    merge.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        help="the file to write: JSON, or a page for a browser if it ends in .html",
    )
    for command in (run, psql):
        command.add_argument(
            "--server",
            default=_settings.AUTO,
            type=_own_server,
            help="auto (default), embedded or system, perhaps with a major version: system:15",
        )
    options = parser.parse_args(arguments)
    try:
        if "reports" in options:
            return merge_reports(options.reports, options.output)
        if "arguments" in options:
            return run_psql(options.server, options.database, options.arguments)
        return run_program(
            options.program,
            server=options.server,
            database=options.database,
            variable=options.env,
        )
    except (ServerError, ReportError) as error:
        print(f"db-testing: {error}", file=sys.stderr)
        return 1


def merge_reports(paths: Sequence[Path], output: Path) -> int:
    """Write one report for several, and print what they come to.

    Raises:
        ReportError: one of them cannot be read, they do not belong together, or the file cannot be
            written.
    """
    merged = _results.merge([(str(path), _results.read(path)) for path in paths])
    try:
        _page.write(merged, output)
    except OSError as error:
        raise ReportError(f"{output} cannot be written: {error.strerror}") from error
    print("\n".join(_summary.summary(merged)))
    return 0


def _own_server(name: str) -> str:
    if not _settings.OWN_SERVER.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{name!r}: auto, embedded, system, or as in system:15")
    return name


def _database(name: str) -> str:
    ours = (_naming.PREFIX, _naming.KEPT_PREFIX)
    if name.startswith(ours) or not name.isidentifier():
        raise argparse.ArgumentTypeError(
            f"{name!r}: letters, digits and underscores, and neither {ours[0]!r} nor {ours[1]!r} "
            f"at the beginning, which mark the databases of test runs"
        )
    return name
