"""The program `db-testing`: its commands, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from .. import _plain_commands
from . import bench, doctor, init, server, template
from .console import CODES

if TYPE_CHECKING:
    from collections.abc import Sequence


def _plain(context: typer.Context) -> None:
    """Run a command that needs nothing of this."""
    raise typer.Exit(_plain_commands.main([str(context.info_name), *context.args]))


app: Final = typer.Typer(
    help="Test databases for pytest: look at them, and set them up.",
    epilog=CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=CODES)(doctor.doctor)
app.command(epilog=CODES)(init.init)
app.command(epilog=CODES)(bench.bench)
app.add_typer(server.app, name="server")
app.add_typer(template.app, name="template")
for name, what in _plain_commands.PLAIN.items():
    app.command(
        name,
        help=what,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(_plain)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code.

    Raises:
        DBTestingError: it could not be done.
    """
    try:
        app(args=list(arguments), prog_name="db-testing")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
