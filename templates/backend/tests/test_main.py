"""The application as a process makes it: from the environment."""

import pytest
from httpx import ASGITransport, AsyncClient

from {{ name | snake_case }}.main import app


@pytest.mark.db(isolation="commit")  # the application's own engine really commits
async def test_settings_lead_to_the_database(
    test_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are served from the database that the environment names."""
    monkeypatch.setenv("{{ name | upper_snake_case }}_DATABASE_URL", test_database_url)
    served = app()
    async with (
        served.router.lifespan_context(served),
        AsyncClient(transport=ASGITransport(served), base_url="http://test") as client,
    ):
        assert (await client.get("/items")).json() == []
