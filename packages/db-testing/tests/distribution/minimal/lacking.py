"""What needs an extra says which one."""

import pytest

from db_testing import Schema
from db_testing.errors import FixtureError, SchemaError


def test_synchronous_fixtures(request: pytest.FixtureRequest) -> None:
    with pytest.raises(FixtureError, match=r'pip install "db-testing\[sync\]"'):
        request.getfixturevalue("db_sync")


def test_alembic() -> None:
    with pytest.raises(SchemaError, match=r"db-testing\[alembic\]"):
        Schema.from_alembic("alembic.ini").fingerprint()
