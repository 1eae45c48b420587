import pytest
from authors import Author
from db_testing import Schema


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    return Schema.from_metadata(Author.metadata)
