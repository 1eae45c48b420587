"""What a test was given is closed after it, within a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from db_testing._isolation import _closing
from db_testing._isolation._closing import close_what_is_left

if TYPE_CHECKING:
    from .conftest import Suite


@pytest.mark.parametrize("isolation", ["rollback", "commit"])
def test_session_that_does_not_close(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    """A session whose close() hangs is named in an error of its test; the next test is clean."""
    monkeypatch.setattr(_closing, "PATIENCE", 0.05)
    pytester = suite(mode="auto", more=f"db_isolation = {isolation}")
    pytester.makepyfile(
        """
        import asyncio

        import pytest
        from models import Item
        from sqlalchemy.ext.asyncio import AsyncSession

        class Hanging(AsyncSession):
            async def close(self):
                try:
                    await asyncio.Event().wait()
                finally:
                    await super().close()

        @pytest.fixture(scope="session")
        def db_session_options():
            return {"class_": Hanging}

        async def test_hangs(db):
            db.add(Item(name="a"))
            await db.flush()

        async def test_next(db_asyncpg):
            assert await db_asyncpg.fetchval("SELECT count(*) FROM item") == 0
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["Hanging.close() was called when the test was over*0.05 s*"])


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 15; another operation is in progress"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_connection_that_the_test_has_ended(error: Exception) -> None:
    """Whatever asyncpg says of a connection whose server process is going is no failure."""

    async def close() -> None:
        raise error

    await close_what_is_left(close)
