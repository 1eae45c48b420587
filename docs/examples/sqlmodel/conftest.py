import heroes  # the models must be imported before the metadata is read
import pytest
from db_testing import Schema
from sqlmodel import SQLModel


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    assert heroes.Hero.__tablename__ in SQLModel.metadata.tables
    return Schema.from_metadata(SQLModel.metadata)
