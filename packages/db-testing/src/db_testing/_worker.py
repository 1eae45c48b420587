"""One test process: its server, and a database for each application it tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _naming, _server, _template
from ._admin import Admin
from ._isolation import Rollback

if TYPE_CHECKING:
    from ._server import Server
    from ._settings import Settings
    from .errors import SandboxError
    from .schema import SchemaLike


@dataclass(frozen=True, slots=True)
class Application:
    """A schema, and this worker's database of it."""

    database: str
    isolation: Rollback


class Worker:
    """Makes databases on first use; every one of them is gone after :meth:`close`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server: Server | None = None
        self._admin: Admin | None = None
        self._applications: dict[str, Application] = {}
        self._test: str | None = None

    def begin(self, test: str | None) -> None:
        """Let the statements that follow belong to a test, also to databases not made yet."""
        self._test = test
        if test is not None:
            for application in self._applications.values():
                application.isolation.begin(test)

    def end(self) -> list[SandboxError]:
        """Undo the test, and return what rollback isolation could not do for it."""
        self._test = None
        failures = [application.isolation.end() for application in self._applications.values()]
        return [failure for failure in failures if failure is not None]

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
        fingerprint = _template.fingerprint(schema, admin.server_version)
        application = self._applications.get(fingerprint)
        if application is None:
            application = self._create(admin, schema, fingerprint)
            self._applications[fingerprint] = application
            if self._test is not None:
                application.isolation.begin(self._test)
        return application

    def _connect(self) -> Admin:
        if self._admin is None:
            if self._server is None:
                self._server = _server.acquire(self._settings.server)
            self._admin = Admin(self._server.url)
            _template.reap(self._admin)
        return self._admin

    def _create(self, admin: Admin, schema: SchemaLike, fingerprint: str) -> Application:
        template = _template.ensure(admin, schema, fingerprint)
        database = _naming.worker_database(
            project=self._settings.project,
            fingerprint=fingerprint,
            run=self._settings.run,
            worker=self._settings.worker,
        )
        _template.clone(admin, template, database)
        return Application(
            database,
            Rollback(
                admin.url.set(database=database),
                renew=lambda: _template.renew(admin, template, database),
            ),
        )

    def close(self) -> None:
        """Drop the databases and give the server up."""
        admin, self._admin = self._admin, None
        server, self._server = self._server, None
        applications, self._applications = self._applications, {}
        try:
            if admin is not None:
                for application in applications.values():
                    application.isolation.close()
                    _template.drop(admin, application.database)
                admin.close()
        finally:
            if server is not None:
                server.release()
