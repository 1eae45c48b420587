"""Templates: a schema is built once, and copied for each worker.

A template is built under another name and renamed when it is complete, so a database with a
template's name is one.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
import hashlib
import threading
import uuid
from typing import TYPE_CHECKING, Final

import asyncpg

from .._server import _fitness
from ..errors import SchemaError, ServerError, SetupError
from ..schema import Schema
from . import _claims, _copies, _naming, _removal, _uses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from sqlalchemy.engine import URL

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

    from .._server._admin import Admin
    from ..schema import SchemaLike

FORMAT: Final = 1
"""Raised when templates of an older db-testing must not be used any more."""

BUILD_TIMEOUT: Final = 600
"""Seconds that a worker waits while another builds the template."""

PATIENCE: Final = 2
"""Seconds after which a line says what is being built, and who is waited for."""

_SERVER: Final = """
    SELECT concat_ws(E'\\n', version(), datcollate, datctype, current_user, (
        SELECT string_agg(name || ' ' || default_version, E'\\n' ORDER BY name)
        FROM pg_available_extensions
    ))
    FROM pg_database WHERE datname = 'template0'
"""
"""What of a server shapes a template; nor may a role copy the databases of another.

Which extensions a schema makes is not known without building it, as migrations make them too. What
is available takes 2 ms to list.
"""

_COLLATIONS: Final = """
    SELECT concat_ws(E'\\n', pg_database_collation_actual_version(d.oid),
        j ->> 'datlocprovider', j ->> 'daticulocale', j ->> 'datlocale')
    FROM pg_database AS d, to_jsonb(d) AS j WHERE datname = 'template0'
"""
"""By which libraries a server sorts since PostgreSQL 15, which copies no database of others.

What versions call the columns differs.
"""

COLLATIONS_SINCE: Final = 15

ATTEMPTS: Final = 5
"""How often a template may vanish, under the hands of somebody who tidies up, before it is odd."""


def fingerprint(admin: Admin, schema: SchemaLike) -> str:
    """Identify a template: what it was built from, by what, for which server and owner.

    Raises:
        SchemaError: the schema cannot say.
    """
    with _application_code(schema, "has no fingerprint"):
        identity = schema.fingerprint()
    return _mixer(admin)(identity)


def _mixer(admin: Admin) -> Callable[[str], str]:
    begin = f"{FORMAT}\n{admin.run(admin.connection.fetchval, _SERVER)}\n"
    if admin.server_version >= COLLATIONS_SINCE:
        begin += f"{admin.run(admin.connection.fetchval, _COLLATIONS)}\n"
    return lambda identity: hashlib.sha256((begin + identity).encode()).hexdigest()


def ensure(admin: Admin, schema: SchemaLike, print_of: str) -> str:
    """Return the name of the schema's template, building it if this process comes first.

    Raises:
        SchemaError: the schema cannot be applied to an empty database; nothing is left of it.
        ServerError: another process has been building for too long, or databases may not be made.
    """
    template = _naming.template_database(print_of)
    if not admin.run(_uses.found, admin.connection, template):
        _build_once(admin, schema, print_of)
    return template


def rebuild(admin: Admin, schema: SchemaLike, print_of: str, run: str) -> None:
    """Build the template anew, although there is one, unless a process of this run has done so.

    Raises:
        SchemaError, ServerError: as :func:`ensure`.
    """
    _build_once(admin, schema, print_of, run)


def _build_once(admin: Admin, schema: SchemaLike, print_of: str, run: str | None = None) -> None:
    """Build a template that is not there; or, for a run, one that the run has not built yet."""
    template = _naming.template_database(print_of)
    admin.run(_wait_for_builder, admin, template)
    try:
        if not admin.run(_uses.found, admin.connection, template, run):
            with _told(admin, f"building the template of {schema!r}"):
                _build(admin, schema, print_of, run)
    finally:
        admin.run(_claims.give, admin.connection, template)


def _build(admin: Admin, schema: SchemaLike, print_of: str, run: str | None) -> None:
    template = _naming.template_database(print_of)
    building = _naming.building_database(print_of, uuid.uuid4().hex)
    admin.run(_claims.take, admin.connection, building)
    try:
        apply = _begin(admin, schema, run, building)
        admin.run(_fitness.check_arrival, admin, building)
        with _application_code(schema, "could not be applied to an empty database"):
            in_thread(lambda: apply(admin.url.set(database=building)))
        admin.run(_close, admin.connection, building)
        way = _fastest_way(admin, building, print_of)
        admin.run(lambda: _uses.note(admin.connection, building, run=run, copied=way))
        if run is not None:
            admin.run(_removal.drop, admin, template)
        admin.run(_complete, admin.connection, building, template)
    finally:
        _claims.drop(admin, building)
    admin.run(_uses.prune, admin)


def _begin(
    admin: Admin, schema: SchemaLike, run: str | None, building: str
) -> Callable[[URL], None]:
    """Make the database to begin with, and return what builds the schema in it."""
    for _ in range(ATTEMPTS):
        source, apply = _beginning(admin, schema, run)
        with contextlib.suppress(asyncpg.InvalidCatalogNameError):
            admin.run(_copies.create, admin.connection, building, source)
            return apply
    raise vanishing(schema)


def vanishing(schema: SchemaLike) -> ServerError:
    """Build the error for a template that is gone each time it is to be copied."""
    return ServerError(
        f"a template of {schema!r} was dropped {ATTEMPTS} times before it could be copied. Who "
        f"else drops databases on this server?"
    )


def _fastest_way(admin: Admin, building: str, print_of: str) -> str | None:
    """Try how a template is copied the fastest, with copies that are thrown away."""
    name = _naming.building_database(print_of, uuid.uuid4().hex)
    admin.run(_claims.take, admin.connection, name)
    try:
        return _copies.fastest(admin.run(_copies.measured, admin, building, name))
    finally:
        _claims.drop(admin, name)


@contextlib.contextmanager
def _told(admin: Admin, work: str) -> Iterator[None]:
    """Say what is being done if it takes its time."""
    timer = threading.Timer(PATIENCE, lambda: admin.say(f"{work} ..."))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _beginning(
    admin: Admin, schema: SchemaLike, run: str | None
) -> tuple[str, Callable[[URL], None]]:
    """Return the database to begin with, and what builds the schema in a copy of it."""
    if isinstance(schema, Schema):
        if schema.base is not None:
            base = fingerprint(admin, schema.base)
            if run is not None:
                rebuild(admin, schema.base, base, run)
            return ensure(admin, schema.base, base), schema.finish
        if run is not None:
            return "template0", schema.apply
        mix = _mixer(admin)
        names = [_naming.template_database(mix(identity)) for identity in schema.ancestors()]
        nearest = admin.run(_first_of, admin.connection, names)
        if nearest is not None:
            return nearest, schema.apply
    return "template0", schema.apply


@contextlib.contextmanager
def _application_code(schema: SchemaLike, failure: str) -> Iterator[None]:
    try:
        yield
    except SetupError:
        raise
    except (Exception, SystemExit) as error:
        # The schema is the user's code, which may raise anything; what it raised is the cause. An
        # env.py that lacks a setting may end the process, as it would Alembic's command.
        raise SchemaError(f"{schema!r} {failure}: {type(error).__name__}: {error}") from error


def in_thread(work: Callable[[], None]) -> None:
    """Do it where no event loop runs, as it is promised to schemas."""
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="db-testing-schema") as pool:
        pool.submit(contextvars.copy_context().run, work).result()


# ---------------------------------------------------------------------------------------- in SQL


async def _first_of(connection: Connection, names: Sequence[str]) -> str | None:
    rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname = ANY ($1)", names)
    there = {row["datname"] for row in rows}
    return next(filter(there.__contains__, names), None)


async def _wait_for_builder(admin: Admin, template: str) -> None:
    connection = admin.connection
    with contextlib.suppress(asyncpg.LockNotAvailableError):
        await _claims.wait(connection, template, f"{PATIENCE}s")
        return
    admin.say(f"waiting for {await _claims.holder(connection, template)} ...")
    try:
        await _claims.wait(connection, template, f"{BUILD_TIMEOUT}s")
    except asyncpg.LockNotAvailableError as error:
        raise ServerError(
            f"waited {BUILD_TIMEOUT} s for the template {template}, which "
            f"{await _claims.holder(connection, template)} is building. End it, and run the tests "
            f"again."
        ) from error


async def _close(connection: Connection, building: str) -> None:
    """Let nobody write to a template: with a connection it could not be copied nor renamed."""
    await connection.execute(f'ALTER DATABASE "{building}" WITH ALLOW_CONNECTIONS false')
    await _removal.vacate(connection, building)


async def _complete(connection: Connection, building: str, template: str) -> None:
    # Somebody with another maintenance database may have been faster, with the same result.
    with contextlib.suppress(asyncpg.DuplicateDatabaseError):
        await connection.execute(f'ALTER DATABASE "{building}" RENAME TO "{template}"')
