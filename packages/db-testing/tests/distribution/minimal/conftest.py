"""All the set-up there is."""

import pytest
from models import Base

from db_testing import Schema


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Return the application's tables."""
    return Schema.from_metadata(Base.metadata)
