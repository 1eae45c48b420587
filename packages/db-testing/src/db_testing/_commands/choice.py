"""Which server a command is about: what the tests would use."""

from __future__ import annotations

import itertools
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from .. import _settings
from ..errors import ServerError, SetupError
from . import pytest_file

Option: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="SERVER",
        help="As pytest's --db-server: embedded, system, auto, one of them with a major version "
        "(system:15), or a URL. Default: what tests that are run here would use.",
    ),
]


@dataclass(frozen=True, slots=True)
class Choice:
    """A server, and who chose it."""

    server: str
    source: str

    @property
    def is_own(self) -> bool:
        """Whether db-testing starts it."""
        return _settings.OWN_SERVER.fullmatch(self.server) is not None

    @property
    def shown(self) -> str:
        """The server without a password."""
        return _settings.hide_password(self.server)


def choose(option: str | None) -> Choice:
    """Return the server that an option names, or else the one that tests would use.

    Raises:
        ServerError: it is no server.
        SetupError: pytest's configuration cannot be read.
    """
    if option is not None:
        choice = Choice(option, "--server")
    elif named := _in_options(file := pytest_file.find(Path.cwd())):
        choice = Choice(named, f"addopts in {file.path}" if file is not None else "addopts")
    elif environment := os.environ.get(_settings.ENVIRONMENT_SERVER):
        choice = Choice(environment, f"the environment variable {_settings.ENVIRONMENT_SERVER}")
    else:
        named = file.values.get("db_server") if file is not None else None
        if file is not None and named:
            choice = Choice(str(named), f"db_server in {file.path}")
        else:
            choice = Choice(_settings.AUTO, "nothing chooses another")
    if not _settings.is_server(choice.server):
        raise ServerError(
            f"the server {choice.shown!r} ({choice.source}) is neither auto, embedded or system, "
            f"perhaps with a major version (system:15), nor a postgresql:// URL."
        )
    return choice


def _in_options(file: pytest_file.PytestFile | None) -> str | None:
    """Return the server that the options name which pytest is always given."""
    if file is None:
        return None
    given = file.values.get("addopts", "")
    try:
        options: list[str] = given if isinstance(given, list) else shlex.split(str(given))
    except ValueError as error:
        raise SetupError(
            f"addopts = {given} in {file.path} cannot be read: {error}. Mend it, and try again."
        ) from error
    pairs = itertools.pairwise([*options, ""])
    for option, following in pairs:
        if option == "--db-server":
            return following
        if option.startswith("--db-server="):
            return option.partition("=")[2]
    return None


def own(option: str | None, *, action: str) -> Choice:
    """Return a server of our own.

    Raises:
        ServerError: it is not ours.
    """
    choice = choose(option)
    if not choice.is_own:
        raise ServerError(
            f"{choice.shown} ({choice.source}) is not db-testing's to {action}. Do that where it "
            f"runs, or name one of db-testing's own: --server embedded."
        )
    return choice
