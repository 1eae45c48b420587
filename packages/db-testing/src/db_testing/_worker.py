"""One test process: its server, and a database for each application it tests."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _naming, _server, _template
from ._admin import Admin
from ._isolation import Isolation
from .errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ._server import Server
    from ._settings import IsolationName, Settings
    from .errors import SandboxError
    from .schema import SchemaLike

    Names: TypeAlias = Callable[[int | None], str]
    """Returns the name of the database itself, or of a copy by its depth."""


@dataclass(frozen=True, slots=True)
class Application:
    """A schema, and this worker's database of it."""

    database: Database
    isolation: Isolation


class Database:
    """A worker's database, and the copies of it that are needed for a while."""

    def __init__(self, admin: Admin, schema: SchemaLike, fingerprint: str, names: Names) -> None:
        """Make it.

        Raises:
            SetupError: the schema cannot be applied.
        """
        self._admin = admin
        self._schema = schema
        self._fingerprint = fingerprint
        self._names = names
        self._saved: set[str] = set()
        self.name = names(None)
        _template.clone(admin, schema, fingerprint, self.name)

    def renew(self, source: str | None) -> None:
        """Replace it by a copy of another database, or of the template."""
        if source is None:
            _template.renew(self._admin, self._schema, self._fingerprint, self.name)
        else:
            _template.copy(self._admin, source, self.name)

    def save(self, depth: int) -> str:
        """Copy it, and return the copy's name."""
        saved = self._names(depth)
        self._saved.add(saved)
        _template.copy(self._admin, self.name, saved)
        return saved

    def drop(self, saved: str) -> None:
        """Drop a copy."""
        _template.drop(self._admin, saved)
        self._saved.discard(saved)

    def close(self) -> None:
        """Drop it and its copies."""
        for name in (self.name, *self._saved):
            with contextlib.suppress(ServerError):
                _template.drop(self._admin, name)


class Worker:
    """Makes databases on first use; every one of them is gone after :meth:`close`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server: Server | None = None
        self._admin: Admin | None = None
        self._applications: dict[str, Application] = {}
        self._test: tuple[str, IsolationName] | None = None

    def begin(self, test: str, kind: IsolationName) -> None:
        """Let the statements that follow belong to a test, also in databases not made yet."""
        self._test = (test, kind)
        for application in self._applications.values():
            application.isolation.begin(test, kind)

    def settle(self) -> None:
        """Undo what fixtures of wider scope did as they ended."""
        for application in self._applications.values():
            application.isolation.settle()

    def end(self) -> list[SandboxError]:
        """Undo the test, and return what rollback isolation could not do for it."""
        self._test = None
        failures = [application.isolation.end() for application in self._applications.values()]
        return [failure for failure in failures if failure is not None]

    def seal(self) -> None:
        """Commit the data layers that a fixture has just written."""
        for application in self._applications.values():
            application.isolation.seal()

    def remarks(self) -> list[str]:
        """Say what the running test, should it fail, may owe to its isolation."""
        remarks = [application.isolation.remark for application in self._applications.values()]
        return [remark for remark in remarks if remark is not None]

    @property
    def applications(self) -> list[Application]:
        """The applications whose tests this process has begun to run."""
        return list(self._applications.values())

    def application(self, schema: SchemaLike) -> Application:
        """Return the database of a schema, making it on first use.

        Raises:
            SetupError: there is no server, or the schema cannot be applied.
        """
        admin = self._connect()
        fingerprint = _template.fingerprint(admin, schema)
        application = self._applications.get(fingerprint)
        if application is None:
            application = self._create(admin, schema, fingerprint)
            self._applications[fingerprint] = application
            if self._test is not None:
                application.isolation.begin(*self._test)
        return application

    def _connect(self) -> Admin:
        if self._admin is None:
            if self._server is None:
                self._server = _server.acquire(self._settings.server)
            self._admin = Admin(self._server.url)
            _template.reap(self._admin)
        return self._admin

    def _create(self, admin: Admin, schema: SchemaLike, fingerprint: str) -> Application:
        def name(depth: int | None) -> str:
            return _naming.worker_database(
                project=self._settings.project,
                fingerprint=fingerprint,
                run=self._settings.run,
                worker=self._settings.worker + ("" if depth is None else f"layer{depth}"),
            )

        database = Database(admin, schema, fingerprint, name)
        return Application(database, Isolation(admin.url.set(database=database.name), database))

    def close(self) -> None:
        """Drop the databases and give the server up.

        What cannot be dropped, because the server is gone, is reaped by the next run.
        """
        admin, self._admin = self._admin, None
        server, self._server = self._server, None
        applications, self._applications = self._applications, {}
        with contextlib.ExitStack() as steps:
            if server is not None:
                steps.callback(server.release)
            if admin is not None:
                steps.callback(admin.close)
            for application in applications.values():
                steps.callback(application.database.close)
                steps.callback(application.isolation.close)
