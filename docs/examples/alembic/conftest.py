import pytest
from db_testing import Schema


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    return Schema.from_alembic("alembic.ini")
