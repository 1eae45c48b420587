"""The command: `db-testing`, or `python -m db_testing`.

What tasks and other programs call is in `_plain_commands`. The commands for people are in
`_commands`, and need the extra `cli`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from . import _plain_commands
from .errors import DBTestingError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXTRA: Final = ("typer", "rich", "libcst", "tomlkit", "click")
"""What the commands for people import besides."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given and given[0] in _plain_commands.PLAIN:
        return _plain_commands.main(given)
    try:
        from ._commands import program
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        print(
            f"db-testing: the module {package!r} is missing, which all commands but "
            f"{', '.join(_plain_commands.PLAIN)} need: pip install 'db-testing[cli]'",
            file=sys.stderr,
        )
        return 1
    try:
        return program.run(given)
    except DBTestingError as error:
        print(f"db-testing: {error}", file=sys.stderr)
        return 1
