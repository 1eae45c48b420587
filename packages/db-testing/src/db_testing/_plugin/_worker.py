"""One test process: its server, and a database for each application it tests."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._isolation._escapes import Watch
from .._isolation._isolation import Isolation
from .._isolation._sweep import Sweep
from .._server import _fitness, _server
from .._server._admin import WIRE_ERRORS, Admin, tell
from .._server._budget import Budget
from .._template import _claims, _clones, _naming, _removal, _template
from .._template._kept import Keepsake
from .._template._private import PrivateDatabases
from ..errors import ServerError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from typing import TypeAlias

    from .._server._server import Server
    from .._settings import IsolationName, Settings
    from ..errors import SandboxError
    from ..schema import SchemaLike

    Names: TypeAlias = Callable[[str], str]
    """Returns the name of the database itself, or of one beside it that is for something."""


@dataclass(frozen=True, slots=True)
class Application:
    """A schema, and this worker's database of it."""

    database: Database
    isolation: Isolation


class Database:
    """A worker's database, and the copies of it that are needed for a while."""

    def __init__(
        self, connect: Callable[[], Admin], schema: SchemaLike, fingerprint: str, names: Names
    ) -> None:
        """Make it. `connect` returns a connection that makes databases, to a server that lives.

        Raises:
            SetupError: the schema cannot be applied.
        """
        self._connect = connect
        self._schema = schema
        self._fingerprint = fingerprint
        self._names = names
        self._saved: set[str] = set()
        self.name = names("")
        self._private = PrivateDatabases(connect, self.name, names, self._make)
        self.template = _clones.clone(connect(), schema, fingerprint, self.name)
        """The number of the template that it was made of, if that is known; else 0."""

    def _make(self, admin: Admin, name: str, source: str | None) -> None:
        if source is None:
            _clones.renew(admin, self._schema, self._fingerprint, name)
        else:
            _clones.recopy(admin, source, name, self._fingerprint)

    def renew(self, source: str | None) -> None:
        """Replace it by a copy of another database, or of the template."""
        self._make(self._connect(), self.name, source)

    def save(self, depth: int) -> str:
        """Copy it, and return the copy's name."""
        saved = self._names(f"layer{depth}")
        self._private.forget(saved)
        self._saved.add(saved)
        _clones.copy(self._connect(), self.name, saved, self._fingerprint)
        return saved

    def drop(self, saved: str) -> None:
        """Drop a copy."""
        self._private.forget(saved)
        _claims.drop(self._connect(), saved)
        self._saved.discard(saved)

    def part(self, source: str | None) -> None:
        """Make place for one that nobody has touched."""
        self._private.enter(source)

    def rejoin(self, source: str | None) -> bool:
        """Come back, and throw that one away; return false if there was nothing to come back to."""
        return self._private.leave(source)

    def prepare(self, source: str | None) -> None:
        """Make one in the background."""
        self._private.prepare(source)

    def keep(self, keepsake: Keepsake) -> str | None:
        """Give it away for ever; return why that cannot be, if so."""
        return keepsake.keep(self._connect(), self.name)

    def hold(self, admin: Admin) -> None:
        """Hold again the locks that keep others from reaping it: a lost session held them."""
        for name in (self.name, *self._saved, *self._private.names):
            _clones.keep(admin, name)

    def close(self, admin: Admin) -> None:
        """Drop it and its copies."""
        self._private.close(admin)
        for name in (self.name, *self._saved):
            with contextlib.suppress(ServerError):
                _claims.drop(admin, name)


class Worker:
    """Makes databases on first use; every one of them is gone after :meth:`close`."""

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None] = tell,
        ahead: _server.Ahead | None = None,
    ) -> None:
        """Make nothing yet. `say` prints a line about work that takes its time.

        `ahead` is the server, if somebody has begun to start it.
        """
        self._settings = settings
        self._say = say
        self._ahead = ahead
        self._server: Server | None = None
        self._admin: Admin | None = None
        self._applications: dict[str, Application] = {}
        self._databases: list[Database] = []
        """Those of the applications, until they are dropped."""
        self._dropping: Future[None] | None = None
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

    def finish(self) -> list[tuple[str, str]]:
        """Wait for sweeps that are under way; return what their test has left behind, and it."""
        used = [application.isolation for application in self._applications.values()]
        return [left for isolation in used for left in isolation.finish()]

    def end(
        self, *, connects: bool = False, keep: bool = False, waits: bool = True
    ) -> list[SandboxError]:
        """Undo the test, and return what rollback isolation could not do for it.

        `connects` says whether the test has what it needs to connect by itself, `keep` whether its
        databases are to be kept. Unless somebody `waits`, sweeps may still be under way afterwards.
        """
        test, self._test = self._test, None
        failures = []
        for fingerprint, application in self._applications.items():
            keepsake = None
            if keep and test is not None:
                keepsake = Keepsake(
                    test[0], self._settings.project, self._settings.run, fingerprint
                )
            failures.append(
                application.isolation.end(connects=connects, keepsake=keepsake, waits=waits)
            )
        if any(application.isolation.lost for application in self._applications.values()):
            self._connect()
        return [failure for failure in failures if failure is not None]

    def has_escaped(self, *, connects: bool) -> bool:
        """Tell whether a test in the sandbox has really committed by others: see :meth:`end`."""
        used = [application.isolation for application in self._applications.values()]
        return any(isolation.has_escaped(connects=connects) for isolation in used)

    def body_is_over(self) -> None:
        """Learn that only fixtures of the test are left to end."""
        for application in self._applications.values():
            application.isolation.body_is_over()

    def seal(self) -> None:
        """Commit the data layers that a fixture has just written."""
        for application in self._applications.values():
            application.isolation.layers.seal()

    @property
    def troubles(self) -> list[SandboxError]:
        """What rollback isolation could not do for the running test, or the last."""
        used = [application.isolation for application in self._applications.values()]
        return [error for isolation in used for error in isolation.troubles]

    @property
    def identity_dependent(self) -> list[str]:
        """The objects of schemas that are known to depend on transaction identity."""
        used = [application.isolation for application in self._applications.values()]
        return [name for isolation in used for name in isolation.identity_dependent]

    def remarks(self) -> list[str]:
        """Say what the running test, should it fail, may owe to its isolation."""
        remarks = [application.isolation.remark for application in self._applications.values()]
        return [remark for remark in remarks if remark is not None]

    def take_kept(self) -> list[tuple[str, str]]:
        """Say, once, where databases of failed tests are, as the test and what to say of it."""
        said = []
        for application in self._applications.values():
            kept, application.isolation.kept = application.isolation.kept, []
            url = application.isolation.url
            said += [(each.test, each.describe(self._settings.server, url)) for each in kept]
        return said

    @property
    def users(self) -> set[asyncio.Task[Any]]:
        """The tasks that hold a transaction of the running test."""
        return {task for used in self._applications.values() for task in used.isolation.users}

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops from which the running test has used a database."""
        return [loop for used in self._applications.values() for loop in used.isolation.loops]

    def take_leaks(self) -> list[str]:
        """Return what the last test has left behind, once."""
        used = [application.isolation for application in self._applications.values()]
        return [leak for isolation in used for leak in isolation.take_leaks()]

    @contextlib.contextmanager
    def others(self) -> Iterator[None]:
        """Let what is done meanwhile be a wider fixture's, and not the test's."""
        with contextlib.ExitStack() as stack:
            for application in self._applications.values():
                stack.enter_context(application.isolation.others())
            yield

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
        with _fitness.understood(admin):
            fingerprint = _template.fingerprint(admin, schema)
        application = self._applications.get(fingerprint)
        if application is None:
            with _fitness.understood(admin):
                application = self._create(admin, schema, fingerprint)
            self._applications[fingerprint] = application
            if self._test is not None:
                application.isolation.begin(*self._test)
                application.isolation.part()  # it may be asked for to tell its URL
        return application

    def _connect(self) -> Admin:
        if self._admin is None:
            if self._server is None:
                self._server = self._acquire()
            self._admin = Admin(self._server.url, say=self._say, restart=self._server.restart)
            with _fitness.understood(self._admin):
                _clones.reap(self._admin)
        elif self._admin.revive():
            for application in self._applications.values():
                application.database.hold(self._admin)
        return self._admin

    def _acquire(self) -> Server:
        if self._ahead is not None:
            return self._ahead.take(self._say)
        settings = self._settings
        return _server.acquire(settings.server, keepalive=settings.keepalive, say=self._say)

    def _create(self, admin: Admin, schema: SchemaLike, fingerprint: str) -> Application:
        def name(purpose: str) -> str:
            return _naming.worker_database(
                project=self._settings.project,
                fingerprint=fingerprint,
                run=self._settings.run,
                worker=self._settings.worker + purpose,
            )

        if self._settings.rebuild:
            _template.rebuild(admin, schema, fingerprint, self._settings.run)
        database = Database(self._connect, schema, fingerprint, name)
        self._databases.append(database)
        url = admin.url.set(database=database.name)
        isolation = Isolation(
            url,
            database,
            watch=Watch(admin, url, (_naming.template_database(fingerprint), database.template)),
            sweep=Sweep(admin, url),
            budget=Budget(admin, lambda: len(self._applications)),
            keeps_failed=self._settings.keep_failed,
        )
        return Application(database, isolation)

    def disconnect(self) -> None:
        """Close what is connected to the databases."""
        applications, self._applications = self._applications, {}
        with contextlib.ExitStack() as steps:
            for application in applications.values():
                steps.callback(application.isolation.close)

    def leave(self) -> None:
        """Let the server begin to drop the databases; nothing but :meth:`close` may follow.

        Whoever has left has no applications any more, and nothing to do the second time.
        """
        admin = self._admin
        if admin is None or not self._applications:
            return
        self.disconnect()
        names = [database.name for database in self._databases]
        with contextlib.suppress(ServerError, *WIRE_ERRORS):
            for name in names:
                admin.run(_removal.vacate, admin.connection, name)
            self._dropping = admin.begin(_removal.drop_unused, admin, names)

    def close(self) -> None:
        """Drop the databases and give the server up.

        What cannot be dropped, because the server is gone, is reaped by the next run.
        """
        self.disconnect()
        databases, self._databases = self._databases, []
        admin, self._admin = self._admin, None
        server, self._server = self._server, None
        with contextlib.ExitStack() as steps:
            if server is not None:
                steps.callback(server.release)
            if admin is not None:
                steps.callback(admin.close)
                steps.callback(self._drop, admin, databases)
                if self._dropping is not None:
                    self._dropping.result()

    @staticmethod
    def _drop(admin: Admin, databases: Sequence[Database]) -> None:
        with contextlib.suppress(ServerError):
            admin.revive(patience=0)
        with contextlib.ExitStack() as steps:
            for database in databases:
                steps.callback(database.close, admin)
