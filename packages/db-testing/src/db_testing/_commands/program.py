"""The program `db-testing`: its commands, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from . import doctor, init, server, template
from .console import CODES

if TYPE_CHECKING:
    from collections.abc import Sequence

app: Final = typer.Typer(
    help="Test databases for pytest: look at them, and set them up.",
    epilog=f"`run`, `psql` and `report merge` are for tasks: see `db-testing run --help`. {CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=CODES)(doctor.doctor)
app.command(epilog=CODES)(init.init)
app.add_typer(server.app, name="server")
app.add_typer(template.app, name="template")


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
