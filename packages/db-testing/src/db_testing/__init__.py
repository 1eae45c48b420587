"""Test async SQLAlchemy backends on real PostgreSQL, each test in a clean database.

The fixtures come with the plugin; an application defines `db_schema` and is done::

    @pytest.fixture(scope="session")
    def db_schema() -> Schema:
        return Schema.from_metadata(Base.metadata)
"""

from .errors import (
    DataLayerError,
    DBTestingError,
    FixtureError,
    SandboxBlockedError,
    SandboxClosedError,
    SandboxConflictError,
    SandboxDeadlockError,
    SandboxError,
    SandboxEscapeError,
    SandboxLoopError,
    SandboxLostError,
    SandboxRefusedError,
    SchemaError,
    ServerError,
    SetupError,
)
from .schema import Schema, SchemaLike

__all__ = [
    "DBTestingError",
    "DataLayerError",
    "FixtureError",
    "SandboxBlockedError",
    "SandboxClosedError",
    "SandboxConflictError",
    "SandboxDeadlockError",
    "SandboxError",
    "SandboxEscapeError",
    "SandboxLoopError",
    "SandboxLostError",
    "SandboxRefusedError",
    "Schema",
    "SchemaError",
    "SchemaLike",
    "ServerError",
    "SetupError",
]
