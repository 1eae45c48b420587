"""Registration and bearer tokens."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.database import translated
from backend.users.errors import AuthenticationError, EmailTakenError
from backend.users.models import User
from backend.users.schemas import UserCreate

_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Book:
    """Identify a user's books: every row of the other domains belongs to one."""

    owner_id: int
    base_currency: str


def _digest(token: str) -> bytes:
    # A token has 256 random bits, so a fast hash without salt is enough, unlike for a password.
    return hashlib.sha256(token.encode()).digest()


async def register(session: AsyncSession, data: UserCreate) -> tuple[User, str]:
    """Create a user and return them with their token; raises `EmailTakenError`."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    user = User(**data.model_dump(), token_digest=_digest(token))
    session.add(user)
    taken = EmailTakenError(f"There is a user with the e-mail address {data.email!r} already.")
    with translated({"uq_users_email": taken}):
        await session.flush()
    return user, token


async def authenticate(session: AsyncSession, token: str) -> User:
    """Find the user whose token this is; raises `AuthenticationError`."""
    user = await session.scalar(select(User).where(User.token_digest == _digest(token)))
    if user is None:
        message = "The bearer token is unknown; it may have been replaced by a newer one."
        raise AuthenticationError(message, challenge='Bearer error="invalid_token"')
    return user


async def rotate_token(session: AsyncSession, user: User) -> str:
    """Replace the user's token and return the new one; the old one is void from the commit on."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    user.token_digest = _digest(token)
    await session.flush()
    return token


async def lock_book(session: AsyncSession, book: Book) -> None:
    """Wait for a turn at changes of the book that must not interleave; held until the commit.

    Rows that refer to the owner can still be written meanwhile.
    """
    owner = select(User.id).where(User.id == book.owner_id)
    await session.execute(owner.with_for_update(key_share=True))
