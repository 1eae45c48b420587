"""Tenants: who they are, and how their requests are told apart."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.database import Sessions

_FIND = text("SELECT id, name FROM tenants WHERE key_sha256 = :hash")
_ADD = text("INSERT INTO tenants (name, key_sha256) VALUES (:name, :hash) RETURNING id")


@dataclass(frozen=True)
class Tenant:
    """Say whose request it is."""

    id: int
    name: str


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def add(session: AsyncSession, name: str, key: str | None = None) -> tuple[Tenant, str]:
    """Add a tenant, and return it with its key, which is kept nowhere; a new one unless given."""
    key = key or secrets.token_urlsafe(32)
    id_ = (await session.execute(_ADD, {"name": name, "hash": _hash(key)})).scalar_one()
    return Tenant(id_, name), key


class KeyAuthentication(AbstractAuthenticationMiddleware):
    """Find the tenant of a request by its key: `Authorization: Bearer <key>`."""

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Answer 401 for a request without a key, or with one of nobody's."""
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        sessionmaker: Sessions = connection.app.state.sessionmaker
        async with sessionmaker() as session:
            found = (await session.execute(_FIND, {"hash": _hash(key)})).one_or_none()
        if scheme.lower() != "bearer" or found is None:
            raise NotAuthorizedException(
                "Send a tenant's key: `Authorization: Bearer <key>`.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return AuthenticationResult(user=Tenant(found.id, found.name), auth=None)
