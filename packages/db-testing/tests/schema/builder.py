"""A process that asks for a template as soon as it is told to."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from db_testing._server._admin import Admin
from db_testing._template import _template

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


class Own:
    """A schema that logs its use, and may be the death of its process."""

    def __init__(self, name: str, log: Path, *, die: bool) -> None:
        """Take what the fingerprint is."""
        self.name = name
        self.log = log
        self.die = die

    def fingerprint(self) -> str:
        """Return the name."""
        return self.name

    def apply(self, _: URL) -> None:
        """Write a line."""
        with self.log.open("a") as log:
            log.write("applied\n")
        if self.die:
            os.kill(os.getpid(), signal.SIGKILL)


def main(url: str, what: str, log: str, *die: str) -> None:
    """Print the template's name."""
    admin = Admin(make_url(url))
    schema = Own(what, Path(log), die=bool(die))
    sys.stdin.readline()
    name = _template.ensure(admin, schema, _template.fingerprint(admin, schema))
    sys.stdout.write(name)
    admin.close()


main(*sys.argv[1:])
