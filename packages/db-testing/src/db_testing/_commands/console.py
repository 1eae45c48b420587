"""What commands print: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

OUT: Final = Console(highlight=False, soft_wrap=True)
ERR: Final = Console(stderr=True, highlight=False, soft_wrap=True)

Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object, whose keys docs/cli.md lists.")
]

WRONG: Final = 1
"""Something is wrong, or could not be done."""
STOPPED: Final = 3
"""The server does not run."""

WIDEST: Final = 10_000
"""Columns that a table may have where no terminal shows it."""

CODES: Final = (
    "Exit codes: 0 done; 1 something is wrong, or could not be done; 2 wrong usage; "
    "3 the server does not run; 130 interrupted."
)


@contextlib.contextmanager
def doing(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done while it is; yield what changes it."""
    with ERR.status(escape(what)) as status:
        yield lambda text: status.update(escape(text))


def show_json(value: Mapping[str, object]) -> None:
    """Print an object for programs."""
    print(json.dumps(value, indent=2))  # noqa: T201  # Rich would colour it


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows for people, as wide as they are."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=True, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    if not OUT.is_terminal:  # a program reads it: no name may be cut
        table.width = OUT.measure(table, options=OUT.options.update_width(WIDEST)).maximum
    OUT.print(table, crop=False, no_wrap=True)


def megabytes(size: int) -> str:
    """Return a size as people read it."""
    return f"{size / 1e6:,.0f} MB"
