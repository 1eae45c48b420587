"""The commands that tasks and other programs call: they need nothing but the standard library."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import _settings
from ._report import _page, _results, _summary
from ._server._programs import run_program, run_psql
from ._template import _naming
from .errors import ReportError, ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAIN: Final = {
    "run": "Run a program on a database of the tests' server.",
    "psql": "Look at a database that --db-keep-failed has kept.",
    "report": "Merge the reports of several machines that --db-report has written.",
}
"""The commands that stand here, and what each does."""


def main(arguments: Sequence[str]) -> int:
    """Run one of them and return its exit code."""
    parser = argparse.ArgumentParser(prog="db-testing")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help=PLAIN["run"],
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
        help=PLAIN["psql"],
        description="Run psql on a database of the tests' own server, which is started if need be.",
    )
    psql.add_argument("database", help="the database's name")
    psql.add_argument("arguments", nargs="*", metavar="-- ARGUMENTS", help="of psql")
    report = commands.add_parser("report", help=PLAIN["report"])
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
