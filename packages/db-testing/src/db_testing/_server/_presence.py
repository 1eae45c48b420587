"""Whether a server of our own runs, who uses it; how it is made to stay, and stopped.

Of itself it runs as long as somebody holds a lease. One that was asked to stay runs until it is
asked to stop, which nobody may do under the hands of those who use it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import ServerError
from . import _folders, _locks

if TYPE_CHECKING:
    from ._cluster import Cluster

STOP_TIMEOUT: Final = 30.0
"""Seconds for a server to stop."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What can be seen of a server from outside."""

    process: int
    """The number of its first process."""
    users: tuple[int, ...] | None
    """The processes that took a lease; None where the system does not tell."""
    stays: bool
    """Whether it was asked to stay when nobody uses it."""
    size: int
    """Bytes that its data take up."""


def look(cluster: Cluster) -> Presence | None:
    """See whether a server runs."""
    if not cluster.answers():
        return None
    process = _process(cluster)
    if process is None:
        return None
    users = _locks.holders(cluster.leases)
    return Presence(
        process=process,
        users=None if users is None else tuple(users),
        stays=cluster.stays.exists(),
        size=_folders.size(cluster.data),
    )


def _process(cluster: Cluster) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((cluster.data / "postmaster.pid").read_text().splitlines()[0])
    return None


def start(cluster: Cluster) -> bool:
    """Make a server stay, and start it if need be; tell whether it had to be started.

    Raises:
        ServerError: it does not start.
    """
    ran = cluster.answers()
    with cluster.acquire():
        cluster.stays.touch()
    return not ran


def stop(cluster: Cluster) -> bool:
    """Stop a server that nobody uses, and wait until it is gone; tell whether there was one.

    Raises:
        ServerError: somebody uses it, or it does not stop.
    """
    lease = _locks.take(cluster.leases, _locks.EXCLUSIVE)
    if lease is None and (shared := _locks.take(cluster.leases, _locks.SHARED)) is not None:
        os.close(shared)
        raise ServerError(
            f"the server in {cluster.folder} is in use by {_users(cluster)}. It stops by itself "
            f"when they end, unless it was asked to stay; then stop it again. End them if they "
            f"hang."
        )
    try:
        # Newcomers wait for the lease. Who could have none meets a watchdog that stops the server.
        cluster.stays.unlink(missing_ok=True)
        process = _process(cluster) if cluster.answers() else None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGINT)  # without waiting for its clients
        _wait_until_gone(cluster)
    finally:
        if lease is not None:
            os.close(lease)
    return process is not None


def _users(cluster: Cluster) -> str:
    users = _locks.holders(cluster.leases)
    if users is None:
        return f"whoever has a lock on {cluster.leases}"
    return ", ".join(f"process {pid}" for pid in users) or "somebody who has just ended"


def _wait_until_gone(cluster: Cluster) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT
    while (free := _locks.take(cluster.running, _locks.EXCLUSIVE)) is None:
        if time.monotonic() > deadline:
            raise ServerError(
                f"the server in {cluster.folder} has not stopped within {STOP_TIMEOUT:g} s. Its "
                f"log is {cluster.log}."
            )
        time.sleep(_locks.PAUSE)  # the kernel has no lock with a time limit
    os.close(free)
