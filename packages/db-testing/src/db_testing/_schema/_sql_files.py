"""Schemas that SQL files build: psql runs them, as it runs what `pg_dump` has written."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from .._server._admin import libpq_url
from .._server._binaries import Binaries
from ..errors import SchemaError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import URL

TIMEOUT: Final = 600.0
"""Seconds within which all files must have been run."""

INCLUDE: Final = re.compile(rb"\\(i|ir|include|include_relative)[ \t]+('(?:[^'\n]|'')*'|[^\s'\\]+)")
COPY: Final = re.compile(rb"\\copy\b[^\n]*", re.IGNORECASE)
COPIED: Final = re.compile(rb"\bfrom[ \t]+('(?:[^'\n]|'')*'|[^\s';]+)", re.IGNORECASE)
ELSEWHERE: Final = re.compile(rb"^\s*\\(c|connect)\b.*$", re.MULTILINE)

ASIDE: Final = frozenset(
    {
        *("PGDATABASE", "PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE"),  # another database, perhaps
        # Asked of whichever server; asyncpg, which has connected to this one, knows none of them.
        *("PGCHANNELBINDING", "PGGSSENCMODE", "PGREQUIREAUTH", "PGREQUIREPEER"),
        *("PGAPPNAME", "PGCLIENTENCODING", "PGDATESTYLE", "PGGEQO", "PGOPTIONS", "PGTZ"),
        "PG_COLOR",  # errors would have it between their words
    }
)
"""Variables that psql is not to see: by the others asyncpg has connected to the server as well."""

DUMPED: Final = re.compile(rb"set_config\('search_path', '', false\)")
"""How pg_dump begins: what follows in its session must name every schema."""


class Scripts:
    """SQL files, in the order in which they are run."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __repr__(self) -> str:
        return f"Schema.from_sql({', '.join(repr(str(path)) for path in self._paths)})"

    def _files(self) -> list[Path]:
        files = []
        for path in self._paths:
            found = sorted(path.glob("*.sql")) if path.is_dir() else [path]
            if not found:
                raise SchemaError(f"{self!r}: there is no *.sql in {path}.")
            files += found
        return files

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for path in self._files():
            for script in _scripts(path):
                for each in (script, *map(_read, _copied(script))):
                    digest.update(each.path.name.encode() + b"\0" + each.content + b"\0")
        return digest.hexdigest()

    def apply(self, url: URL) -> None:
        arguments = [argument for path in self._files() for argument in _arguments(path)]
        encrypts = "ssl" in url.query or "PGSSLMODE" in os.environ
        asked = subprocess.run(
            [
                _psql(encrypts=encrypts),
                "--no-psqlrc",
                "--no-password",  # it would ask for one on the terminal, whoever is there
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                *arguments,
                libpq_url(url),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
            stdin=subprocess.DEVNULL,
            env=_environment(url),
        )
        if asked.returncode != 0:
            said = asked.stderr.strip()
            hint = ""
            if re.search(r'role "[^"]*" does not exist', said):
                hint = " Dump with --no-owner --no-privileges, or create the role in the file."
            if "SSL support is not compiled in" in said:
                hint = " Install PostgreSQL's client programs: the wheel's psql knows no TLS."
            raise SchemaError(f"{self!r} failed: {said}{hint}")


class _File(NamedTuple):
    """A file, read once for all that is looked for in it."""

    path: Path
    content: bytes


def _read(path: Path) -> _File:
    return _File(path, path.read_bytes())


def _check_place(script: _File) -> None:
    """Check that a file stays in the database that it is run in."""
    path, content = script
    elsewhere = ELSEWHERE.search(content)
    if elsewhere is not None:
        line = content[: elsewhere.start(1)].count(b"\n") + 1
        raise SchemaError(
            f"{path}, line {line}: {elsewhere[0].decode(errors='replace').strip()!r} leads away "
            f"from the test database. Take it out; pg_dump writes it with --create."
        )


def _arguments(path: Path) -> list[str]:
    """Return psql's arguments for a file; what a dump has set is not for the files after it."""
    scripts = list(_scripts(path))
    for script in scripts:
        _check_place(script)
    end = ["--command=RESET ALL"] if DUMPED.search(scripts[0].content) is not None else []
    return [f"--file={path}", *end]


def _psql(*, encrypts: bool) -> str:
    """Return the wheel's, which is the newest but knows no TLS, the system's or that of PATH."""
    for server in ("system", "embedded") if encrypts else ("embedded", "system"):
        try:
            program = Binaries.find(server).folder / "psql"
        except ServerError:
            continue
        if program.exists():
            return str(program)
    return "psql"


def _environment(url: URL) -> dict[str, str]:
    """Return the user's environment, without what would set the session or lead it elsewhere."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name not in ASIDE or value == "disable"  # which asks for nothing
    }
    # A password on the command line could be read by every user of the machine.
    return own | ({"PGPASSWORD": str(url.password)} if url.password else {})


def _scripts(path: Path, depth: int = 0) -> Iterator[_File]:
    """Return a file and those that psql includes in it, as far as their names stand there."""
    script = _read(path)
    yield script
    if depth > 10:  # noqa: PLR2004  # psql itself ends a circle only when it can open no more
        return
    for command, name in INCLUDE.findall(script.content):
        relative = command in (b"ir", b"include_relative")
        for found in _named(name, path.parent if relative else Path.cwd()):
            yield from _scripts(found, depth + 1)


def _copied(script: _File) -> Iterator[Path]:
    """Return the files whose rows a script copies into tables."""
    for command in COPY.findall(script.content):
        for name in COPIED.findall(command):
            yield from _named(name, Path.cwd())


def _named(name: bytes, folder: Path) -> Iterator[Path]:
    """Return the file that psql takes a name for, if there is one."""
    if name.startswith(b"'"):
        name = name[1:-1].replace(b"''", b"'")
    found = folder / os.path.expanduser(os.fsdecode(name))  # noqa: PTH111  # no home is no error
    # Rows may hold what looks like a command, with a word too long for a name.
    if os.path.isfile(found):  # noqa: PTH113
        yield found
