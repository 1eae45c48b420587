"""A process that takes a lease on the cluster in a folder, and keeps it until it is told to end.

With a second argument it allows files of so many bytes only, for itself and all it starts.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from db_testing._server._binaries import Binaries
from db_testing._server._cluster import Cluster
from db_testing._server._identity import Identity
from db_testing.errors import ServerError


def main(home: str, limit: str | None = None) -> None:
    """Say `ready` or what went wrong."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    cluster = Cluster.locate(Binaries.find(), Identity.choose(), [Path(home)])
    try:
        lease = cluster.acquire()
    except ServerError as error:
        sys.exit(str(error))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    lease.close()


main(*sys.argv[1:])
