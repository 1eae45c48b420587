"""Where the embedded server's files lie, and what is refused."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db_testing._server import _cluster, _folders, _locks
from db_testing._server._binaries import Binaries
from db_testing._server._cluster import Cluster
from db_testing._server._identity import Identity
from db_testing.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

ORDINARY = Identity()
ROOT = Identity(65534, 65534)
OURS = f"db-testing-{os.geteuid()}"
PROGRAMS = Binaries(Path("/nowhere"), "18.6")


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset what names a cache folder."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def test_user_keeps_files_in_the_cache(no_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's first choice on disk is the cache in the home, the last a temp folder."""
    monkeypatch.setenv("HOME", "/home/somebody")
    first, last = _folders.on_disk(ORDINARY)
    assert first == Path("/home/somebody/.cache", OURS)
    assert last.name == OURS


def test_chosen_cache_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME goes before any default, for root as well."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/chosen")
    assert _folders.on_disk(ORDINARY)[0] == _folders.on_disk(ROOT)[0] == Path("/chosen", OURS)


def test_relative_cache_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The XDG specification demands it: every folder that tests are started in would get one."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "chosen")
    assert _folders.on_disk(ORDINARY)[0] == Path("/home/somebody/.cache", OURS)
    assert _folders.on_disk(ROOT)[0] == Path("/var/cache", OURS)


def test_root_keeps_nothing_at_home(no_cache: None) -> None:
    """Root's home is closed to the user who runs the server, so files lie in /var/cache."""
    assert _folders.on_disk(ROOT)[0] == Path("/var/cache", OURS)


def test_user_without_a_home_has_the_temp_folder(
    no_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user without HOME and without an entry in the user database is served as well."""

    def nowhere() -> Path:
        message = "Could not determine home directory."
        raise RuntimeError(message)

    monkeypatch.setattr(Path, "home", nowhere)
    (only,) = _folders.on_disk(ORDINARY)
    assert only.name == OURS


def test_memory_is_used_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new cluster needs room in memory; one that is there stays, lest processes disagree."""
    monkeypatch.setattr(_folders, "MEMORY", tmp_path)
    home = _folders.in_memory()
    assert home == tmp_path / OURS
    _folders.check_room(home)
    monkeypatch.setattr(_folders, "ROOM", 1 << 60)
    with pytest.raises(OSError, match=r"\d+ MB free, 1099511627776 MB needed"):
        _folders.check_room(home)
    home.mkdir()
    _folders.check_room(home)


def test_no_memory_file_system_is_no_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /dev/shm, as on macOS, the next folder is taken."""
    monkeypatch.setattr(_folders, "MEMORY", home / "none")
    homes = [_folders.in_memory(), home / "cache"]
    assert Cluster.locate(PROGRAMS, ORDINARY, homes).folder.parent == home / "cache"


def file_in_the_way(home: Path) -> None:
    """Put a file where the folder should be."""
    home.touch()


def parent_is_a_file(home: Path) -> None:
    """Put a file where the folder's parent should be: nobody can write there, not even root."""
    home.parent.rmdir()
    home.parent.touch()


def link_elsewhere(home: Path) -> None:
    """Put a symbolic link to a folder of this user, as an attacker might."""
    (home.parent / "elsewhere").mkdir()
    (home.parent / "elsewhere").chmod(0o755)
    home.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (file_in_the_way, "is there, and is no folder of this user"),
        (parent_is_a_file, "exists"),
        (link_elsewhere, "is there, and is no folder of this user"),
    ],
)
def test_unusable_folder_is_one_error(
    home: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    """The error names each folder that was tried, why it cannot be used, and what to do."""
    target = home / "cache" / "ours"
    target.parent.mkdir()
    spoil(target)
    with pytest.raises(ServerError) as caught:
        Cluster.locate(PROGRAMS, ORDINARY, [target])
    message = str(caught.value)
    assert message.startswith("the embedded server finds no folder for its data:\n")
    assert f"    {target}: " in message
    assert reason in message
    assert message.endswith("or set XDG_CACHE_HOME to a folder that is.")


def test_link_target_is_not_touched(home: Path) -> None:
    """What a symbolic link in the place of our folder points at keeps its permissions."""
    link_elsewhere(home / "ours")
    with pytest.raises(ServerError):
        Cluster.locate(PROGRAMS, ORDINARY, [home / "ours"])
    assert (home / "elsewhere").stat().st_mode & 0o777 == 0o755
    assert list((home / "elsewhere").iterdir()) == []


def test_next_folder_is_taken(home: Path) -> None:
    """A folder that cannot be used is passed over."""
    file_in_the_way(home / "first")
    cluster = Cluster.locate(PROGRAMS, ORDINARY, [home / "first", home / "second"])
    assert cluster.folder.parent == home / "second"


def test_folders_are_closed_to_others(home: Path) -> None:
    """Nobody else enters a user's cluster; root's must let the server's user pass, no more."""
    for identity, mode in ((ORDINARY, 0o700), (ROOT, 0o711)):
        cluster = Cluster.locate(PROGRAMS, identity, [home / f"{mode:o}"])
        for folder in (cluster.folder, cluster.folder.parent):
            assert folder.stat().st_mode & 0o777 == mode


def test_path_of_the_socket_may_have_107_bytes(home: Path) -> None:
    """The last path that fits is taken, the next one refused with both lengths."""
    limit = 107 if sys.platform == "linux" else 103
    name = Cluster.locate(PROGRAMS, ORDINARY, [home]).folder.name
    rest = limit - len(os.fsencode(home / name / "socket-01234567" / _cluster.SOCKET_NAME)) - 1
    Cluster.locate(PROGRAMS, ORDINARY, [home / ("x" * rest)])
    with pytest.raises(ServerError) as caught:
        Cluster.locate(PROGRAMS, ORDINARY, [home / ("x" * (rest + 1))])
    assert f"would have {limit + 1} bytes, and a unix socket's may have {limit}" in str(
        caught.value
    )
    assert not (home / ("x" * (rest + 1))).exists()


def test_folder_closed_to_the_servers_user_is_passed_over(home: Path) -> None:
    """For root a folder below a closed one is of no use: the server's user cannot get there."""
    (home / "closed").mkdir(mode=0o700)
    homes = [home / "closed" / "cache", home / "open"]
    assert Cluster.locate(PROGRAMS, ROOT, homes).folder.parent == home / "open"
    assert not homes[0].exists()
    with pytest.raises(ServerError, match="is closed to the user who must run PostgreSQL for root"):
        Cluster.locate(PROGRAMS, ROOT, homes[:1])


def test_folder_that_a_strict_umask_closes_is_passed_over(home: Path) -> None:
    """A cache folder that is made on the way is closed under root's umask 077: the next one."""
    before = os.umask(0o077)
    try:
        homes = [home / "new" / "cache", home / "ours"]
        assert Cluster.locate(PROGRAMS, ROOT, homes).folder.parent == home / "ours"
    finally:
        os.umask(before)


def test_settings_have_a_cluster_of_their_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version or other settings never meet a data directory that was made for these."""
    here = Cluster.locate(PROGRAMS, ORDINARY, [home])
    newer = Cluster.locate(Binaries(Path("/nowhere"), "18.7"), ORDINARY, [home])
    monkeypatch.setitem(_cluster.OPTIONS, "fsync", "on")
    other = Cluster.locate(PROGRAMS, ORDINARY, [home])
    assert len({here.folder, newer.folder, other.folder}) == 3


def test_what_nobody_has_used_for_long_is_removed(home: Path) -> None:
    """Clusters of other versions and copies of programs; never one in use, nor what is not ours."""
    versions = ("18.6", "18.5", "17.0", "16.1")
    spare, used, held, old = (home / f"{version}-0123456789" for version in versions)
    foreign = home / "x"
    programs = home / "binaries-18.5-0123456789ab"
    for folder in (spare, used, held, old, foreign, programs):
        (folder / "data").mkdir(parents=True)
        if folder not in {foreign, programs}:
            (folder / "leases").touch()
    for path in (spare / "leases", held / "leases", old / "leases", foreign, programs):
        os.utime(path, (0, 0))
    with _locks.locked(held / "leases", _locks.SHARED):
        _folders.prune(home, spare=spare)
    assert {path.name for path in home.iterdir()} == {
        path.name for path in (spare, used, held, foreign)
    }


def test_lock_of_a_folder_that_was_removed_meanwhile(home: Path) -> None:
    """Whoever waited for it does not take the file that nobody else will ever see."""
    path = home / "leases"
    real = fcntl.flock

    def flock(descriptor: int, mode: int) -> None:
        real(descriptor, mode)
        if not seen:
            path.unlink()
        seen.append(descriptor)

    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        descriptor = _locks.take(path, _locks.EXCLUSIVE)
    assert descriptor is not None
    assert len(seen) == 2
    assert os.path.samestat(os.fstat(descriptor), path.stat())
    os.close(descriptor)


def test_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    """A folder under construction has another name, and what a dead process left of one goes."""
    target = tmp_path / "target"
    (tmp_path / "target.partial").mkdir()
    (tmp_path / "target.partial" / "rest").touch()
    with _folders.completed(target) as partial:
        (partial / "file").touch()
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["file"]
    assert list(tmp_path.iterdir()) == [target]


def test_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    """When its making fails, neither the folder nor a part of it is there."""

    def fail() -> None:
        with _folders.completed(tmp_path / "x") as partial:
            (partial / "file").touch()
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_opened_folder_can_be_read_by_others(tmp_path: Path) -> None:
    """Programs stay programs, files stay files, and what links lead to is left alone."""
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir(mode=0o700)
    for path, mode in ((elsewhere, 0o600), (folder / "program", 0o700), (folder / "file", 0o600)):
        path.touch()
        path.chmod(mode)
    (folder / "link").symlink_to(elsewhere)
    _folders.open_to_others(folder)
    modes = [path.stat().st_mode & 0o777 for path in (folder, folder / "program", folder / "file")]
    assert modes == [0o755, 0o755, 0o644]
    assert elsewhere.stat().st_mode & 0o777 == 0o600


def test_size_of_what_a_server_is_removing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes while the folder is looked at takes up nothing."""
    (tmp_path / "there").write_bytes(b"x" * 8192)
    alone = _folders.size(tmp_path)
    monkeypatch.setattr(os, "walk", lambda _: [(str(tmp_path), [], ["gone", "there"])])
    assert _folders.size(tmp_path) == alone >= 8192


def test_limit_is_a_share_of_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's data may fill half of the memory file system, and any disk."""
    monkeypatch.setattr(_folders, "MEMORY", tmp_path / "shm")
    home = tmp_path / "shm" / OURS
    home.mkdir(parents=True)
    assert _folders.limit(home) == shutil.disk_usage(home).total // 2
    assert _folders.limit(tmp_path) is None


def test_reason_for_another_place_is_kept(home: Path) -> None:
    """What was wrong with the better place is there to be told."""
    (home / "file").touch()
    cluster = Cluster.locate(PROGRAMS, ORDINARY, [home / "file" / OURS, home / OURS])
    assert cluster.folder.parent == home / OURS
    (refused,) = cluster.refused
    assert refused.startswith(f"{home / 'file' / OURS}: ")
