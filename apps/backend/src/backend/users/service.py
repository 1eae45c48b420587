"""Registration, signing in, and who a token stands for."""

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.database import translated
from backend.users.credentials import Claims, Credentials
from backend.users.errors import AuthenticationError, EmailTakenError
from backend.users.models import User
from backend.users.schemas import PasswordChange, SignIn, UserCreate


@dataclass(frozen=True)
class Book:
    """Identify a user's books: every row of the other domains belongs to one."""

    owner_id: int
    base_currency: str


async def register(session: AsyncSession, credentials: Credentials, data: UserCreate) -> User:
    """Create a user; raises `EmailTakenError`."""
    user = User(
        email=data.email,
        name=data.name,
        base_currency=data.base_currency,
        password_hash=await credentials.hash(data.password.get_secret_value()),
        token_generation=1,
    )
    session.add(user)
    taken = EmailTakenError(f"There is a user with the e-mail address {data.email!r} already.")
    with translated({"uq_users_email": taken}):
        await session.flush()
    return user


async def sign_in(session: AsyncSession, credentials: Credentials, data: SignIn) -> User:
    """Find the user whose password this is; raises `AuthenticationError`, whichever is wrong."""
    user = await session.scalar(select(User).where(User.email == data.username))
    stored = None if user is None else user.password_hash
    right, renewed = await credentials.verify(data.password.get_secret_value(), stored)
    if user is None or not right:
        message = "There is no user with this e-mail address and password."
        raise AuthenticationError(message, challenge="Bearer")
    if renewed is not None:
        user.password_hash = renewed
        await session.flush()
    return user


async def authenticate(session: AsyncSession, claims: Claims) -> User:
    """Find the user that a signed token stands for; raises `AuthenticationError`."""
    user = await session.get(User, claims.sub)
    if user is None or user.token_generation != claims.gen:
        message = "The token has been revoked; get a new one at `POST /users/token`."
        raise AuthenticationError(message, challenge='Bearer error="invalid_token"')
    return user


async def revoke_tokens(session: AsyncSession, user: User) -> None:
    """Begin a new generation of the user's tokens; earlier ones are void from the commit on."""
    # Counted by the database: two who do this at once must not end in the same generation.
    user.token_generation = (
        await session.execute(
            update(User)
            .where(User.id == user.id)
            .values(token_generation=User.token_generation + 1)
            .returning(User.token_generation)
        )
    ).scalar_one()


async def change_password(
    session: AsyncSession, credentials: Credentials, user: User, data: PasswordChange
) -> None:
    """Replace the password and revoke all tokens; raises `AuthenticationError`."""
    right, _ = await credentials.verify(data.current.get_secret_value(), user.password_hash)
    if not right:
        message = "The current password is not right."
        raise AuthenticationError(message, challenge="Bearer")
    user.password_hash = await credentials.hash(data.new.get_secret_value())
    await session.flush()
    await revoke_tokens(session, user)


async def lock_book(session: AsyncSession, book: Book) -> None:
    """Wait for a turn at changes of the book that must not interleave; held until the commit.

    Rows that refer to the owner can still be written meanwhile.
    """
    owner = select(User.id).where(User.id == book.owner_id)
    await session.execute(owner.with_for_update(key_share=True))
