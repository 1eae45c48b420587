import pytest
from db_testing import Schema
from models import Base


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    return Schema.from_metadata(Base.metadata)
