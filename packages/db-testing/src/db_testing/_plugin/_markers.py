"""Markers written into test modules: what `--db-explain=apply` does with the tests that moved.

A test module is somebody's source. It is changed where a marker stands or has to stand and nowhere
else, or not at all; and either all modules of a plan are written or none.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BY_STRENGTH: Final = ("commit", "database")
"""Where parameters of one test moved differently, the last of these does for all of them."""

INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
WRITABLE: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Move:
    """A test that passed in another isolation than its own."""

    path: Path
    names: tuple[str, ...]
    """Classes and function from the module down, without parameters."""

    isolation: str
    """One of `BY_STRENGTH`."""


@dataclass(frozen=True)
class Left:
    """A test that gets no marker."""

    move: Move
    reason: str
    """A sentence that names the file, and what to do by hand."""


@dataclass(frozen=True)
class Plan:
    """What is to be written, and what cannot be."""

    files: Mapping[Path, bytes]
    """The new content of each module that changes."""

    left: tuple[Left, ...]

    def write(self) -> list[Path]:
        """Replace the modules, and return them; an error before the first one leaves them all."""
        with contextlib.ExitStack() as unused:
            ready = [
                (unused.enter_context(_beside(path, source)), path)
                for path, source in self.files.items()
            ]
            for new, path in ready:
                new.replace(path)
        return list(self.files)


def write(moves: Iterable[Move], *, root: Path) -> list[Path]:
    """Write a marker above each test that moved, and return the modules changed.

    What cannot be written is left out in silence: make a `plan` to know it.

    Raises:
        SetupError: as `plan`.
    """
    return plan(moves, root=root).write()


def plan(moves: Iterable[Move], *, root: Path) -> Plan:
    """Find out what each test module is to become.

    Args:
        moves: The tests; a relative path counts from the root.
        root: No file outside of it, once symbolic links are followed, is ever written.

    Raises:
        SetupError: libcst is not installed, or a module is no Python.
    """
    root = root.resolve()
    left: list[Left] = []
    by_path: dict[Path, list[Move]] = {}
    for move in moves:
        path = (root / move.path).resolve()
        obstacle = _obstacle(path, root)
        if obstacle is None:
            by_path.setdefault(path, []).append(move)
        else:
            left.append(Left(move, f"{path} {obstacle}. Write the marker by hand."))
    files: dict[Path, bytes] = {}
    for path, here in sorted(by_path.items()):
        before = path.read_bytes()
        after, missing = _marked(path, before, here)
        left += [Left(move, missing[move.names]) for move in here if move.names in missing]
        if after != before:
            files[path] = after
    return Plan(files, tuple(left))


def _obstacle(path: Path, root: Path) -> str | None:
    """Say why a module must not be written."""
    if not path.is_relative_to(root):
        return f"is outside of {root}"
    if INSTALLED & set(path.parts):
        return "belongs to an installed package"
    if path.suffix != ".py" or not path.is_file():
        return "is no Python file"
    # To root nothing is read-only, so access() alone is not enough.
    writable = path.stat().st_mode & WRITABLE and os.access(path.parent, os.W_OK)
    if not writable or not os.access(path, os.R_OK | os.W_OK):
        return "is not to be written to, by its permissions or its folder's"
    return None


def _marked(
    path: Path, source: bytes, moves: list[Move]
) -> tuple[bytes, Mapping[tuple[str, ...], str]]:
    """Return a module's new source, and for each test that has no place in it the reason."""
    _require_libcst()
    from . import _marked_source

    wanted: dict[tuple[str, ...], str] = {}
    for move in moves:
        isolations = (wanted.get(move.names, BY_STRENGTH[0]), move.isolation)
        wanted[move.names] = max(isolations, key=BY_STRENGTH.index)
    try:
        module = _marked_source.read(source)
    except _marked_source.UNREADABLE as error:
        raise SetupError(
            f"No marker has been written to any file: {path} cannot be read as Python: {error}\n"
            f"Mend the file, or write the markers that --db-explain names by hand."
        ) from error
    if module.bytes != source:  # a form feed before a statement, a lone carriage return at the end
        reason = f"{path} would not stay as it is: libcst reads it and gives other bytes back."
        return source, dict.fromkeys(wanted, f"{reason} Write the marker by hand.")
    after, missing = _marked_source.marked(module, wanted)
    return after, {
        names: f"{path} defines no {'.'.join(names)}: it is inherited, imported or made at run "
        f"time. Mark it where it is defined, or write the marker for its class or module."
        for names in missing
    }


def _require_libcst() -> None:
    try:
        import libcst as _libcst  # noqa: F401  # the next modules do
    except ModuleNotFoundError as error:
        raise SetupError(
            f"--db-explain=apply writes markers with libcst, which cannot be imported ({error}). "
            f'Install it: pip install "db-testing[explain]".'
        ) from error


@contextlib.contextmanager
def _beside(path: Path, source: bytes) -> Iterator[Path]:
    """Have a file's next content in its folder, with its mode and owner; gone if not used."""
    now = path.stat()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    new = Path(name)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123  # a handle, no path
            file.write(source)
            if os.geteuid() == 0:
                # In a container, with the user's folder mounted: the file stays the user's.
                os.fchown(handle, now.st_uid, now.st_gid)
            os.fchmod(handle, stat.S_IMODE(now.st_mode))
        yield new
    finally:
        new.unlink(missing_ok=True)
