"""The application's database, as its tests have it, and how many requests are made up."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from db_testing import Schema
from {{ name | snake_case }}.database import SESSION_OPTIONS, SessionOptions

# Narrow schemas filter much; and how long an example takes depends on what else the machine does.
settings.register_profile(
    "short", max_examples=10, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile("long", settings.get_profile("short"), max_examples=500)
settings.load_profile("short")  # and then what --hypothesis-profile asks for


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Build the database as production does: by its migrations."""
    return Schema.from_alembic(Path(__file__).parents[1] / "alembic.ini")


@pytest.fixture(scope="session")
def db_session_options() -> SessionOptions:
    """Give the application's sessions their options."""
    return SESSION_OPTIONS
