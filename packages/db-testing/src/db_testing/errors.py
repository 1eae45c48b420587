"""Every exception of db-testing. Each message says what failed, why, and what to do next."""


class DBTestingError(Exception):
    """Base of everything db-testing raises on its own account."""


class SetupError(DBTestingError):
    """The database could not be made ready; no test can use it. Shown once, and ends the run."""


class ServerError(SetupError):
    """No PostgreSQL server could be found, started or reached."""


class UnfitServerError(ServerError):
    """The server speaks PostgreSQL's protocol, and lacks what db-testing needs."""


class SchemaError(SetupError):
    """`db_schema` is missing, is no Schema, or could not be applied to an empty database."""


class FixtureError(DBTestingError):
    """A database fixture was requested by a test that cannot use it."""


class SuiteError(DBTestingError):
    """`db-testing`'s commands have asked the project's pytest, which cannot say what is asked."""


class InitError(DBTestingError):
    """`db-testing init` cannot set a project up."""


class ReportError(DBTestingError):
    """Reports of runs cannot be read, or are not of one suite."""


class DataLayerError(DBTestingError):
    """A data layer cannot be written or taken away here, or its rows are gone."""


class SandboxError(DBTestingError):
    """Rollback isolation cannot do what the test asks of it."""


class SandboxDeadlockError(SandboxError):
    """A transaction waited its turn for longer than the bound. Names who waits for whom."""


class SandboxConflictError(SandboxError):
    """A rollback would undo what another transaction has done since; savepoints cannot help."""


class SandboxRefusedError(SandboxError):
    """The statement has no honest meaning inside an outer transaction that will be rolled back."""


class SandboxLoopError(SandboxError):
    """One test used the database from two event loops; a transaction lives on one."""


class SandboxClosedError(SandboxError):
    """A transaction was used after the end of the test that began it."""


class SandboxBlockedError(SandboxError):
    """A connection that is not the sandbox's held a lock for too long. Names both sides."""


class SandboxEscapeError(SandboxError):
    """A connection that is not the sandbox's committed for real what no rollback can undo."""


class SandboxLostError(SandboxError):
    """The connection that held the test's transaction is gone, and the test's data with it."""
