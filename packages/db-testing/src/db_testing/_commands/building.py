"""What `db-testing template build` does with each schema, in the project's own pytest."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from .. import _naming, _server, _template, _uses
from .._admin import Admin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._probe import Say, Subject
    from .._settings import Settings

BUILD: Final = f"{__name__}:build"
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
