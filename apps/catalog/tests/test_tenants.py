"""Tenants: no request sees, changes or finds anything of another's."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from httpx import ASGITransport, AsyncClient
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from catalog import tenants
from catalog.database import Sessions, become, transaction_of
from catalog.main import create_app

CHAIR = {"sku": "CHR", "name": "Oak chair", "category_id": 7}


@pytest.fixture
async def bob(db_sessionmaker: Sessions) -> AsyncClient:
    """Send requests of another tenant."""
    async with db_sessionmaker.begin() as session:
        _, key = await tenants.add(session, "Bob's")
    headers = {"authorization": f"BEARER {key}"}
    app: Any = create_app(db_sessionmaker)
    return AsyncClient(transport=ASGITransport(app), base_url="http://test", headers=headers)


@pytest.fixture
async def chair(ada: AsyncClient) -> int:
    """Add a product of Ada's, with a price."""
    id_: int = (await ada.post("/products", json=CHAIR)).json()["id"]
    price = {"currency": "EUR", "amount": "129.00", "valid_from": "2026-01-01T00:00:00Z"}
    assert (await ada.put(f"/products/{id_}/prices", json=price)).status_code == 200
    return id_


Attempt = Callable[[AsyncClient, int], Awaitable[int]]


def _status(method: str, path: str, **options: object) -> Attempt:
    async def attempt(client: AsyncClient, id_: int) -> int:
        answer = await client.request(method, path.format(id_), **options)  # type: ignore[arg-type]
        return answer.status_code

    return attempt


PRICE = {"currency": "EUR", "amount": "1"}


@pytest.mark.parametrize(
    "attempt",
    [
        _status("GET", "/products/{}"),
        _status("PATCH", "/products/{}", json={"name": "Mine"}),
        _status("DELETE", "/products/{}"),
        _status("PUT", "/products/{}/prices", json=PRICE),
        _status("GET", "/products/{}/prices"),
        _status("GET", "/products/{}/price?currency=EUR"),
    ],
    ids=["show", "change", "remove", "price", "prices", "price now"],
)
async def test_anothers_product_is_not_found(
    bob: AsyncClient, ada: AsyncClient, chair: int, attempt: Attempt
) -> None:
    """As if it did not exist; and it is unharmed."""
    before = (await ada.get(f"/products/{chair}")).json()
    assert await attempt(bob, chair) == 404
    assert (await ada.get(f"/products/{chair}")).json() == before


@pytest.mark.parametrize(
    "path",
    ["/products", "/products?category=1"]
    + [f"/search?q=chair&mode={mode}" for mode in ("words", "likeness", "meaning", "hybrid")],
)
async def test_nothing_of_anothers_is_listed(bob: AsyncClient, chair: int, path: str) -> None:
    """By no listing and by no search."""
    assert chair
    answer = (await bob.get(path)).json()
    assert (answer["items"] if isinstance(answer, dict) else answer) == []


async def test_two_tenants_may_have_one_sku(bob: AsyncClient, chair: int) -> None:
    """It is free in each tenant's own."""
    made = await bob.post("/products", json=CHAIR)
    assert made.status_code == 201
    assert made.json()["id"] != chair


async def test_an_import_renews_none_of_anothers(
    bob: AsyncClient, ada: AsyncClient, chair: int
) -> None:
    """Though it has the same SKU."""
    line = b'{"sku": "CHR", "name": "Stool", "category_id": 7}'
    imported = (await bob.post("/products/import", content=line)).json()
    assert imported == {"created": 1, "updated": 0}
    assert (await ada.get(f"/products/{chair}")).json()["name"] == "Oak chair"


async def _other(session: AsyncSession) -> int:
    tenant, _ = await tenants.add(session, "Eve's")
    await become(session, tenant.id)
    return tenant.id


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM products",
        "SELECT product_id FROM prices",
        "UPDATE products SET name = 'x' RETURNING id",
        "DELETE FROM products RETURNING id",
        "SELECT p.id FROM products AS p CROSS JOIN categories",
    ],
)
async def test_the_database_itself_keeps_tenants_apart(
    db: AsyncSession, chair: int, statement: str
) -> None:
    """Whatever SQL a bug in the application would send."""
    assert chair
    await _other(db)
    assert (await db.execute(text(statement))).all() == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM tenants",
        "SELECT * FROM prices_default",
        "TRUNCATE products",
        "ALTER TABLE products DISABLE ROW LEVEL SECURITY",
        "UPDATE categories SET name = 'x'",
        "INSERT INTO tenants (name, key_sha256) VALUES ('x', '')",
    ],
    ids=["keys", "a partition", "truncate", "policies", "the taxonomy", "a tenant"],
)
async def test_a_request_may_not_reach_around_its_tenant(
    db: AsyncSession, chair: int, statement: str
) -> None:
    """Its role has no right to."""
    assert chair
    await _other(db)
    with pytest.raises(DBAPIError):
        await db.execute(text(statement))


async def test_a_row_cannot_be_given_to_another_tenant(db: AsyncSession, chair: int) -> None:
    """The policy holds for what is written, too."""
    assert chair
    await _other(db)
    forged = text(
        "INSERT INTO products (tenant_id, sku, name, category_id, embedding)"
        " VALUES (:tenant, 'x', 'x', 7, array_fill(1, ARRAY[256])::vector)"
    )
    with pytest.raises(DBAPIError, match="row-level security"):
        await db.execute(forged, {"tenant": 1_000_000})


async def test_a_transaction_leaves_no_tenant_behind(db_sessionmaker: Sessions) -> None:
    """The next one on its connection is nobody's until it says whose."""
    async with db_sessionmaker.begin() as session:
        tenant, _ = await tenants.add(session, "Eve's")
    async with transaction_of(db_sessionmaker, tenant.id) as session:
        asked = text("SELECT current_user, current_setting('catalog.tenant')")
        assert (await session.execute(asked)).one() == ("catalog_app", str(tenant.id))
    async with db_sessionmaker.begin() as session:
        asked = text("SELECT current_user = session_user, current_setting('catalog.tenant', true)")
        alone, setting = (await session.execute(asked)).one()
        assert alone
        assert not setting


async def test_copy_is_no_way_around(db_asyncpg: asyncpg.Connection, chair: int) -> None:
    """PostgreSQL refuses to copy into a table with row-level security, and copies out own rows."""
    assert chair
    async with db_asyncpg.transaction():
        await db_asyncpg.execute("SELECT set_config('catalog.tenant', '1000000', true)")
        await db_asyncpg.execute("SET LOCAL ROLE catalog_app")
        status = await db_asyncpg.copy_from_query("SELECT * FROM products", output=_ignore)
        assert status == "COPY 0"
        with pytest.raises(asyncpg.FeatureNotSupportedError):
            await db_asyncpg.copy_records_to_table("products", records=[(1,)], columns=["id"])


async def _ignore(data: bytes) -> None:
    del data


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nobody's"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": ""},
    ],
)
@pytest.mark.parametrize("path", ["/products", "/search?q=x", "/categories", "/products/1/prices"])
async def test_a_request_of_nobodys_is_refused(
    ada: AsyncClient, path: str, headers: dict[str, str]
) -> None:
    """And told how to be somebody's."""
    ada.headers.pop("Authorization")
    refused = await ada.get(path, headers=headers)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert refused.headers["content-type"] == "application/problem+json"


async def test_a_key_in_the_wrong_scheme_is_no_key(ada: AsyncClient) -> None:
    """A proxy that rewrites headers is noticed."""
    ada.headers["Authorization"] = ada.headers["Authorization"].replace("Bearer", "Basic")
    assert (await ada.get("/products")).status_code == 401


async def test_keys_are_kept_as_hashes(db: AsyncSession) -> None:
    """Whoever reads the table learns no key."""
    _, key = await tenants.add(db, "Eve's")
    kept = (await db.execute(text("SELECT key_sha256 FROM tenants"))).scalar_one()
    assert key.encode() not in kept
    assert len(kept) == 32
