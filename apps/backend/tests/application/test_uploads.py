"""Uploads: a stranger's are not read, and large ones have a limit."""

from collections.abc import AsyncIterator

from httpx import AsyncClient

from backend import uploads

CSV = {"Content-Type": "text/csv"}


async def test_a_strangers_file_is_not_even_read(client: AsyncClient) -> None:
    """Without a token the answer comes before the first byte is taken."""
    read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read = True
        yield b"Date"

    response = await client.post("/bank-accounts/1/imports", content=body(), headers=CSV)

    assert response.status_code == 401
    assert not read


async def test_a_file_beyond_the_limit_is_refused_while_it_comes(ada: AsyncClient) -> None:
    """An endless upload is stopped at the limit instead of filling the disk."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 2**20
            yield b"x" * 2**20

    response = await ada.post("/bank-accounts/1/imports", content=endless(), headers=CSV)

    assert (response.status_code, response.json()["type"]) == (413, "/problems/upload-too-large")
    assert sent == uploads.MAX_BYTES + 2**20


async def test_the_documentation_says_what_can_be_uploaded(client: AsyncClient) -> None:
    """A body that is streamed is in the OpenAPI document all the same."""
    document = (await client.get("/openapi.json")).json()

    operation = document["paths"]["/bank-accounts/{bank_account_id}/imports"]["post"]
    assert set(operation["requestBody"]["content"]) >= {"text/csv", "application/x-ofx"}
