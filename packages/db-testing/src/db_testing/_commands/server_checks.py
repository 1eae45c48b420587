"""Whether the server is there, lets this user do what tests need, and has room."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import time
import uuid
from typing import TYPE_CHECKING, Final

from .._server import _budget, _fitness, _folders, _server
from .._server._admin import Admin
from .._template import _claims, _clones, _copies, _naming
from ..errors import ServerError
from .findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._server._cluster import Cluster
    from .choice import Choice

SLOW: Final = 0.2
"""Seconds for a database, above which somebody should know."""

LITTLE: Final = 256 * 1024 * 1024
"""Bytes on a disk or in memory, below which a server may soon have no room."""

_ROLE: Final = """
    SELECT rolname AS name, rolsuper AS super, rolcreatedb AS creates
    FROM pg_roles WHERE rolname = current_user
"""


def check(choice: Choice) -> Iterator[Finding]:
    """Look at the server that tests would use, and start it if it is ours."""
    try:
        described = _server.describe(choice.server)
        yield Finding("server", "ok", f"{described}; {choice.source}")
        if choice.is_own:
            yield from _place(_server.own(choice.server))
        started = time.perf_counter()
        server = _server.acquire(choice.server)
    except ServerError as error:
        yield Finding("server", "error", str(error), "As it says; then run doctor again.")
        return
    try:
        with contextlib.closing(Admin(server.url)) as admin:
            took = time.perf_counter() - started
            yield Finding("connection", "ok", f"answers after {took:.2f} s")
            yield from _connected(admin, choice)
    except ServerError as error:
        yield Finding("connection", "error", str(error), "As it says; then run doctor again.")
    finally:
        server.release()


def _place(cluster: Cluster) -> Iterator[Finding]:
    home = cluster.folder.parent
    runs_as = cluster.identity.uid
    user = pwd.getpwuid(os.geteuid() if runs_as is None else runs_as).pw_name
    why = "" if runs_as is None else ", since PostgreSQL refuses to run as root"
    yield Finding("permissions", "ok", f"runs as {user}{why}; {cluster.folder} is its folder")
    free = shutil.disk_usage(home).free
    room = f"{free >> 20} MB free in {home}"
    limit = _folders.limit(home)
    if limit is None:
        refused = "; ".join(cluster.refused) or f"there is no {_folders.MEMORY}"
        yield Finding(
            "room",
            "warning",
            f"the data lie on disk ({room}), where databases take longer to make: {refused}",
            f"Give {_folders.MEMORY} at least {_folders.ROOM >> 20} MB (docker run --shm-size=1g).",
        )
    else:
        used = _folders.size(cluster.data)
        yield Finding(
            "room",
            "ok",
            f"in memory: {room}, {used >> 20} MB in use of {limit >> 20} MB that the data may take",
        )
    if free < LITTLE:
        yield Finding(
            "room",
            "error",
            room,
            "Make room there. Templates that nobody needs: db-testing template prune --all",
        )


def _connected(admin: Admin, choice: Choice) -> Iterator[Finding]:
    role = admin.run(admin.connection.fetchrow, _ROLE)
    assert role is not None  # noqa: S101  # whoever asks has a role
    if not (role["super"] or role["creates"]):
        yield Finding(
            "permissions",
            "error",
            f"the role {role['name']} may not create databases",
            f'As a superuser: ALTER ROLE "{role["name"]}" CREATEDB',
        )
        return
    yield _database(admin)
    if not choice.is_own:
        yield from _foreign(admin, may_see=role["super"])
    yield _connections(admin)


def _database(admin: Admin) -> Finding:
    """Make a database and connect to it, as every test process does."""
    digest = uuid.uuid4().hex
    name = _naming.building_database(digest, digest)
    started = time.perf_counter()
    _clones.keep(admin, name)
    try:
        admin.run(_copies.create, admin.connection, name, "template0")
        took = time.perf_counter() - started
        admin.run(_fitness.check_arrival, admin, name)
    finally:
        _claims.drop(admin, name)
    found = f"made a database in {took * 1000:.0f} ms, connected to it, and dropped it"
    if took < SLOW:
        return Finding("databases", "ok", found)
    return Finding(
        "databases",
        "note",
        found,
        "Where this is slow, a server whose data lie in memory and that runs with fsync=off is "
        "faster; the embedded one is such a server.",
    )


def _foreign(admin: Admin, *, may_see: bool) -> Iterator[Finding]:
    """Look at what only a server that is not ours may lack."""
    tracks = admin.run(admin.connection.fetchval, "SHOW track_commit_timestamp")
    if tracks != "on":
        yield Finding(
            "settings",
            "note",
            f"track_commit_timestamp = {tracks}: under rollback isolation, real commits by other "
            f"processes are not noticed",
            "Set it to on, and restart the server.",
        )
    if not may_see:
        yield Finding(
            "permissions",
            "note",
            "the role is no superuser: schemas with extensions or event triggers may fail",
            "Make it one, if this server is for tests alone.",
        )


def _connections(admin: Admin) -> Finding:
    limit = admin.run(_budget.lowest_limit, admin)
    processes = max(limit.processes, os.cpu_count() or 1)
    fits = (limit.allows - limit.has) // (_budget.OWN + 1)
    found = f"{limit.has} of {limit.allows} connections are in use ({limit.name})"
    if fits >= processes:
        return Finding("connections", "ok", found)
    return Finding(
        "connections",
        "warning",
        f"{found}: {fits} more test processes fit, and this machine has {os.cpu_count()} cores",
        f"Raise that limit, or run with at most -n {max(fits, 1)}.",
    )
