"""The user that the server's processes run as: PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ServerError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of the machine; without numbers, the one who runs the tests."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def choose(cls) -> Identity:
        """Choose this user, or for root the unprivileged user that every Unix has.

        Raises:
            ServerError: root, and no user `nobody`.
        """
        if os.geteuid() != 0:
            return cls()
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise ServerError(
                "PostgreSQL refuses to run as root, and this machine has no user 'nobody' to run "
                "it instead. Run the tests as an ordinary user, or point --db-server at a server."
            ) from None
        return cls(nobody.pw_uid, nobody.pw_gid)

    def popen_options(self) -> dict[str, Any]:
        """Return the options of `subprocess` that start a process as this user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make this user the owner of a folder."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def check_passage(self, path: Path) -> None:
        """Check that this user may pass through every folder above a path.

        Raises:
            PermissionError: one of them is closed to others.
        """
        if self.uid is None:
            return
        for folder in path.parents:
            if folder.exists() and not folder.stat().st_mode & stat.S_IXOTH:
                message = f"{folder} is closed to the user who must run PostgreSQL for root"
                raise PermissionError(message)
