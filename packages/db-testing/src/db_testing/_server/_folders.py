"""Where files may lie between runs: folders that no other user can tamper with."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import _locks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._identity import Identity

MEMORY: Final = Path("/dev/shm")  # noqa: S108  # ours is a folder in it that only we can change

ROOM: Final = 512 * 1024 * 1024
"""Bytes that must be free in memory for a cluster to lie there."""

SHARE: Final = 0.5
"""How much of the memory file system a server's data may take up."""

KEPT_FOR: Final = 14 * 24 * 3600.0
"""Seconds after which what nobody has used is removed."""

PRUNABLE: Final = re.compile(r"\d[\w.]*-[0-9a-f]{10}|binaries-[\w.]+-[0-9a-f]{12}")
"""The names of clusters' folders and of copies of programs."""

LOCKS: Final = ("leases", "starting", "running")
"""The files of a cluster that are locked while somebody uses it."""


def in_memory() -> Path:
    """Return our folder in the memory file system, if there is one: see :func:`check_room`."""
    return _ours(MEMORY)


def check_room(home: Path) -> None:
    """Check that a folder of ours in memory has room, or is in use already.

    All processes must come to the same conclusion, so what is there is used however full it is.

    Raises:
        OSError: there is no such file system, or not enough room in it.
    """
    if home.parent != MEMORY or home.exists():
        return
    free = shutil.disk_usage(MEMORY).free
    if free < ROOM:
        raise OSError(errno.ENOSPC, f"{free >> 20} MB free, {ROOM >> 20} MB needed")


def limit(home: Path) -> int | None:
    """Return how many bytes a server's data may take up in a folder of ours; None on disk."""
    if not home.is_relative_to(MEMORY):
        return None
    return int(shutil.disk_usage(home).total * SHARE)


def size(folder: Path) -> int:
    """Return the bytes that the files in a folder take up."""
    blocks = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a server that runs removes files
                # Ten thousand of them, for which pathlib takes twice as long.
                blocks += os.lstat(os.path.join(place, name)).st_blocks  # noqa: PTH118
    return blocks * 512  # always


def on_disk(identity: Identity) -> list[Path]:
    """Return our folders on disk, the best first: the user's cache, and if need be another."""
    caches = []
    # The XDG specification says of a relative one that it is to be ignored.
    if (chosen := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():
        caches.append(chosen)
    elif identity.uid is not None:
        # Root's home is closed to the user who runs the server.
        caches.append(Path("/var/cache"))
    else:
        with contextlib.suppress(RuntimeError):  # neither HOME nor an entry in the user database
            caches.append(Path.home() / ".cache")
    return [_ours(folder) for folder in (*caches, Path(tempfile.gettempdir()))]


def _ours(folder: Path) -> Path:
    return folder / f"db-testing-{os.geteuid()}"


def prune(home: Path, *, spare: Path) -> None:
    """Remove what nobody has used for :data:`KEPT_FOR`: clusters, and copies of programs."""
    for folder in home.iterdir():
        if folder == spare or not PRUNABLE.fullmatch(folder.name):
            continue
        with contextlib.ExitStack() as held:
            locks = [folder / name for name in LOCKS if (folder / name).exists()]
            age = time.time() - max(path.stat().st_mtime for path in locks or [folder])
            if age < KEPT_FOR or None in [_hold(held, lock) for lock in locks]:
                continue
            shutil.rmtree(folder, ignore_errors=True)


def _hold(held: contextlib.ExitStack, lock: Path) -> int | None:
    descriptor = _locks.take(lock, _locks.EXCLUSIVE)
    if descriptor is not None:
        held.callback(os.close, descriptor)
    return descriptor


def own(path: Path, mode: int, *, give: Identity | None = None) -> None:
    """Make a folder that belongs to this user, or to the one it is given to.

    Raises:
        OSError: it cannot be made, or something else or somebody else's is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=mode)
    status = path.lstat()
    owners = {os.geteuid(), give.uid if give else None}
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners:
        message = f"{path} is there, and is no folder of this user"
        raise PermissionError(message)
    path.chmod(mode)
    if give is not None:
        give.give(path)


@contextlib.contextmanager
def completed(target: Path) -> Iterator[Path]:
    """Give a folder its name only when it is complete, and leave nothing otherwise.

    To be used under a lock: what a killed process has left half made is removed.
    """
    partial = _partial(target)
    remove(target)
    partial.mkdir()
    try:
        yield partial
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove(target: Path) -> None:
    """Remove a folder, so that nobody ever takes the rest of it for the whole.

    To be used under a lock, as :func:`completed`.
    """
    partial = _partial(target)
    shutil.rmtree(partial, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        target.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def open_to_others(folder: Path) -> None:
    """Let every user of the machine read what is in a folder, and run its programs."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        wanted = mode | (0o055 if mode & stat.S_IXUSR else 0o044)
        if wanted != mode:
            path.chmod(wanted)
