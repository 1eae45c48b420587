"""How the connections that a server allows are shared out among the processes that test on it.

Connections are kept between tests, because opening one takes longer than a test. How many a process
may keep follows from what the server allows and from how many processes share it, looked up now and
then: others come and go. Who finds no connection free waits for a while, and is then told who
has them.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

from ..errors import ServerError
from ._admin import APPLICATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._admin import Admin

MOST: Final = 5
"""How many connections of a driver are kept at most: as many as a pool of SQLAlchemy's."""

OWN: Final = 4
"""Connections needed besides: to make databases, to sweep, to watch, to roll back."""

VALID: Final = 1.0
"""Seconds after which the processes are counted again."""

NAMED: Final = 8
"""How many databases are named in an error, the most used first."""

# Who is no superuser is not told the type of other roles' sessions; the server's own have no user.
_LIMITS: Final = """
    SELECT rolsuper AS unlimited, rolconnlimit AS role_allows, session_user AS role,
        current_setting('max_connections')::int
            - CASE WHEN rolsuper THEN 0
                   ELSE current_setting('superuser_reserved_connections')::int
                       + coalesce(current_setting('reserved_connections', true)::int, 0)
              END AS server_allows,
        count(pid) AS server_has,
        count(pid) FILTER (WHERE usename = session_user) AS role_has,
        count(pid) FILTER (WHERE starts_with(application_name, $1)) AS processes
    FROM pg_roles LEFT JOIN pg_stat_activity
        ON usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
    WHERE rolname = session_user
    GROUP BY rolsuper, rolconnlimit
"""

_HOLDERS: Final = """
    SELECT datname, count(*) AS has FROM pg_stat_activity
    WHERE usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
    GROUP BY datname ORDER BY has DESC, datname
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit that is reached first."""

    name: str
    allows: int
    has: int
    processes: int
    """How many processes share it."""

    def spare(self, databases: int) -> int:
        """How many connections of a driver each process may keep for each of its databases."""
        return max(0, min(MOST, self.allows // max(1, self.processes * databases) - OWN))


class Budget:
    """What of a server's connections this process may keep for one database."""

    def __init__(self, admin: Admin, databases: Callable[[], int]) -> None:
        """Ask nothing yet. `databases` counts those of this process."""
        self._admin = admin
        self._databases = databases
        self._spare = 0
        self._valid_until = 0.0

    @property
    def spare(self) -> int:
        """How many connections of a driver may be kept for the next test."""
        now = time.monotonic()
        if now >= self._valid_until:
            try:
                self._spare = self._admin.run(lowest_limit, self._admin).spare(self._databases())
            except ServerError:
                self._spare = 0  # it is gone, and every connection with it
            self._valid_until = now + VALID
        return self._spare

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Say who has the server's connections where one is refused because all are taken.

        Raises:
            ServerError: one was.
        """
        try:
            yield
        except asyncpg.TooManyConnectionsError as error:
            raise self.no_more() from error

    def exhausted(self) -> ServerError | None:
        """Say who has the server's connections, if all are taken."""
        limit = self._admin.run(lowest_limit, self._admin)
        return self.no_more() if limit.has >= limit.allows else None

    def no_more(self) -> ServerError:
        """Say who has the server's connections; one was refused because all are taken."""
        return self._admin.run(_no_more, self._admin)


async def lowest_limit(admin: Admin) -> Limit:
    """Find the limit that is reached first."""
    found = await admin.connection.fetchrow(_LIMITS, APPLICATION)
    assert found is not None  # noqa: S101  # whoever asks has a role
    server = Limit(
        "max_connections", found["server_allows"], found["server_has"], found["processes"]
    )
    if found["unlimited"] or found["role_allows"] < 0:
        return server
    name = f"the CONNECTION LIMIT of the role {found['role']}"
    role = Limit(name, found["role_allows"], found["role_has"], found["processes"])
    return min(server, role, key=lambda limit: limit.allows - limit.has)


async def _no_more(admin: Admin) -> ServerError:
    limit = await lowest_limit(admin)
    holders = [(row["datname"], row["has"]) for row in await admin.connection.fetch(_HOLDERS)]
    held = [f"{has} in {name}" for name, has in holders[:NAMED]]
    if holders[NAMED:]:
        held.append(f"{sum(has for _, has in holders[NAMED:])} in others")
    return ServerError(
        f"no connection is to be had: {admin.shown_url} allows {limit.allows} ({limit.name}), and "
        f"{limit.has} are taken: {', '.join(held)}. Test processes that share it: "
        f"{limit.processes}. Let fewer of them run at the same time, close what a test has "
        f"opened, or raise that limit."
    )
