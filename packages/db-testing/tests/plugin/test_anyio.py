"""anyio's pytest plugin runs database tests, with and without pytest-asyncio beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Suite

BACKEND = """
    import pytest
    from models import Base
    from db_testing import Schema

    @pytest.fixture(scope="session")
    def db_schema():
        return Schema.from_metadata(Base.metadata)

    @pytest.fixture(scope="{scope}")
    def anyio_backend():
        return {backend!r}
"""


@pytest.mark.parametrize("backend", ["asyncio", ("asyncio", {"use_uvloop": True})])
@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_database_tests_share_a_loop(suite: Suite, backend: object, scope: str) -> None:
    """Whatever the scope of the backend: one loop for database tests, a context for each."""
    pytester = suite("anyio_tests", conftest=None)
    pytester.makeconftest(BACKEND.format(scope=scope, backend=backend))
    pytester.runpytest().assert_outcomes(passed=16)
