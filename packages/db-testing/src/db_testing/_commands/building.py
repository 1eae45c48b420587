"""What `db-testing template build` does with each schema, in the project's own pytest."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from .._plugin import _probe
from .._schema._metadata import Metadata
from .._server import _server
from .._server._admin import Admin
from .._template import _naming, _template, _uses
from ..schema import Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._plugin._probe import Say, Subject
    from .._settings import Settings
    from ..schema import SchemaLike

BUILD: Final = f"{__name__}:build"
CHECK: Final = f"{__name__}:check"
REBUILD: Final = f"{__name__}:rebuild"


@contextlib.contextmanager
def connected(settings: Settings, say: Say) -> Iterator[Admin]:
    """Connect to the server that the tests use, and start it if need be."""

    def tell(text: str) -> None:
        say({"progress": text})

    server = _server.acquire(settings.server, keepalive=settings.keepalive, say=tell)
    try:
        with contextlib.closing(Admin(server.url, say=tell, restart=server.restart)) as admin:
            yield admin
    finally:
        server.release()


def build(subject: Subject, say: Say) -> Mapping[str, object]:
    """Build the template, unless it is there."""
    return _build(subject, say, anew=False)


def rebuild(subject: Subject, say: Say) -> Mapping[str, object]:
    """Build the template, although it may be there."""
    return _build(subject, say, anew=True)


def check(subject: Subject, say: Say) -> Mapping[str, object]:
    """Build the template too, and look at what tests get besides."""
    built = _build(subject, say, anew=False)

    def get(_db_bound: None, db_session_options: object) -> None:
        del db_session_options  # that it can be had is enough

    asking = _probe.test_beside(subject.item, get, "_db_bound", "db_session_options")
    failure = _probe.run_test(asking, _probe.test_beside(subject.item, lambda: None))
    return {**built, "fixtures": failure, "is_empty": _is_empty(subject.schema)}


def _is_empty(schema: SchemaLike) -> bool:
    """Tell whether a schema is of metadata that nothing has filled."""
    built = schema._built if isinstance(schema, Schema) else None  # noqa: SLF001  # for doctor alone
    return isinstance(built, Metadata) and built.lacks_tables


def _build(subject: Subject, say: Say, *, anew: bool) -> Mapping[str, object]:
    schema = subject.schema
    with connected(subject.settings, say) as admin:
        started = time.perf_counter()
        say({"progress": f"building the template of {schema!r} ..."})
        print_of = _template.fingerprint(admin, schema)
        name = _naming.template_database(print_of)
        there = admin.run(_uses.found, admin.connection, name)
        if anew:
            _template.rebuild(admin, schema, print_of, subject.settings.run)
        else:
            _template.ensure(admin, schema, print_of)
        return {
            "template": name,
            "schema": repr(schema),
            "built": anew or not there,
            "seconds": round(time.perf_counter() - started, 3),
        }
