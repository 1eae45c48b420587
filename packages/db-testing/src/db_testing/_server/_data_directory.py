"""The data directory of an embedded server: made by initdb, thrown away when it is of no use."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ServerError
from . import _folders

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._binaries import Binaries
    from ._identity import Identity

SUPERUSER: Final = "postgres"

INITDB_TIMEOUT: Final = 120.0
"""Seconds for a data directory to be made."""

BOOT_TIMEOUT: Final = 10.0
"""Seconds for the system to say when it was started."""

INITDB: Final = (
    "--auth=trust",  # the socket lies in a folder that only its user can enter
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--no-instructions",
    "--no-sync",
    "--wal-segsize=1",  # megabytes; 16 would be most of the data directory
    f"--username={SUPERUSER}",
)

INITDB_SINCE_16: Final = (
    # An initdb that is killed would leave a megabyte of it in /dev/shm otherwise, for ever.
    "--set=dynamic_shared_memory_type=mmap",
)

BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
"""Where Linux identifies the time since it was started."""

ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
"""Without the user's own PostgreSQL settings."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The data directory in a cluster's folder; to be used by whoever holds the lock `running`."""

    folder: Path
    binaries: Binaries
    identity: Identity

    @property
    def path(self) -> Path:
        """Where it is, if it has been made."""
        return self.folder / "data"

    def discard_if_spoilt(self) -> str | None:
        """Remove it if it is of no use, or too large; return what is to be said of that."""
        self._discard_what_a_crash_has_spoilt()
        return self._discard_what_is_too_large()

    def _discard_what_is_too_large(self) -> str | None:
        """Remove the data when they take up too much memory; templates are all that is lost."""
        limit = _folders.limit(self.folder.parent)
        if limit is None or not self.path.exists():
            return None
        size = _folders.size(self.path)
        if size <= limit:
            return None
        _folders.remove(self.path)
        return (
            f"the data of PostgreSQL took {size >> 20} MB of memory in {self.path}, of "
            f"{limit >> 20} MB that they may, so they were removed; templates are built anew"
        )

    def _discard_what_a_crash_has_spoilt(self) -> None:
        """Remove the data of a server that ran before the machine was started.

        It never waits for the disk, not even as it stops: whether the machine did before it ended
        cannot be known. What a killed server has left is whole: the system goes on to write it.
        """
        booted = self.folder / "booted"
        now = _boot()
        if booted.exists() and booted.read_text() != now:
            _folders.remove(self.path)
        booted.write_text(now)

    def initialise(self, turn: int) -> None:
        """Make the data directory."""
        binaries = self.binaries.reachable_by(self.identity)
        options = (*INITDB, *INITDB_SINCE_16) if binaries.major >= 16 else INITDB  # noqa: PLR2004
        try:
            with _folders.completed(self.path) as partial:
                self.identity.give(partial)
                subprocess.run(
                    [binaries.folder / "initdb", *options, "--pgdata", partial],
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=INITDB_TIMEOUT,
                    cwd="/",
                    env=ENVIRONMENT,
                    pass_fds=[turn],  # an orphan's work is waited for
                    **self.identity.popen_options(),
                )
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise ServerError(
                f"the data directory {self.path} could not be made:\n"
                f"{indent(said.strip().splitlines())}\n"
                f"What there was of it has been removed. Is there room in {self.folder}?"
            ) from error


def _boot() -> str:
    """Identify the time since the machine was started."""
    if BOOT.exists():
        return BOOT.read_text()
    asked = subprocess.run(
        ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"],
        capture_output=True,
        text=True,
        check=False,
        timeout=BOOT_TIMEOUT,
    )
    return asked.stdout


def indent(lines: Iterable[str]) -> str:
    """Set lines off from the text around them."""
    return "\n".join("    " + line for line in lines)
