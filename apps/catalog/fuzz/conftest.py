"""The application's database, as its tests have it, and how many requests are made up."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from catalog.database import SESSION_OPTIONS, SessionOptions
from catalog.taxonomy.service import seed
from db_testing import Schema

# Narrow schemas filter much; and how long an example takes depends on what else the machine does.
settings.register_profile(
    "short", max_examples=10, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile("long", settings.get_profile("short"), max_examples=500)
settings.load_profile("short")  # and then what --hypothesis-profile asks for


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Build the database of the files that production runs, with its taxonomy."""
    folder = Path(__file__).parents[1] / "schema"
    return Schema.from_sql(folder, extensions=["pg_trgm", "vector"], seed=seed)


@pytest.fixture(scope="session")
def db_session_options() -> SessionOptions:
    """Give the application's sessions their options."""
    return SESSION_OPTIONS
