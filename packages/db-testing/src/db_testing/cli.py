"""The command: `python -m db_testing`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import _naming, _results, _server, _settings
from ._binaries import Binaries
from .errors import ReportError, ServerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

COMMAND_NOT_FOUND = 127  # as shells have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m db_testing", description=main.__doc__)
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
    merge.add_argument("-o", "--output", required=True, type=Path, help="the file to write")
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
        merged.write(output)
    except OSError as error:
        raise ReportError(f"{output} cannot be written: {error.strerror}") from error
    print("\n".join(_results.summary(merged)))
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


def run_program(program: Sequence[str], *, server: str, database: str, variable: str) -> int:
    """Run a program on a database of a server of our own and return its exit code.

    Raises:
        ServerError: the server cannot be started, or refuses the database.
    """
    if os.environ.get(variable):
        return _supervise(program, os.environ)
    acquired = _server.acquire(server)
    try:
        url = _ensure(acquired, database)
        return _supervise(program, os.environ | {variable: url})
    finally:
        acquired.release()


def run_psql(server: str, database: str, arguments: Sequence[str]) -> int:
    """Run psql on a database of a server of our own and return its exit code.

    Raises:
        ServerError: the server cannot be started.
    """
    acquired = _server.acquire(server)
    try:
        own = Binaries.find(server).folder / "psql"
        url = acquired.url.set(drivername="postgresql", database=database)
        program = str(own) if own.exists() else "psql"
        return _supervise([program, url.render_as_string(), *arguments], os.environ)
    finally:
        acquired.release()


def _ensure(server: _server.Server, database: str) -> str:
    """Make the database unless it is there, and return its URL."""
    from ._admin import Admin

    admin = Admin(server.url)

    async def create() -> None:
        found = "SELECT true FROM pg_database WHERE datname = $1"
        if not await admin.connection.fetchval(found, database):
            await admin.connection.execute(f'CREATE DATABASE "{database}"')

    try:
        admin.run(create)
    finally:
        admin.close()
    return server.url.set(database=database).render_as_string(hide_password=False)


def _supervise(program: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program to its end, passing on the signals that end this process."""
    try:
        child = subprocess.Popen(program, env=environment)
    except OSError as error:
        print(f"db-testing: cannot run {program[0]!r}: {error.strerror}", file=sys.stderr)
        return COMMAND_NOT_FOUND

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        child.send_signal(number)

    # A terminal sends Ctrl-C to the program as well; the program decides what it means.
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, forward),
        signal.SIGHUP: signal.signal(signal.SIGHUP, forward),
    }
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code
