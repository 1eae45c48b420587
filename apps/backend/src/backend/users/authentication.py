"""Dependencies that tell a request's user from its bearer token."""

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from backend.database import RequestSession
from backend.users import service
from backend.users.credentials import Claims, Credentials
from backend.users.errors import AuthenticationError
from backend.users.models import User
from backend.users.service import Book

_bearer = OAuth2PasswordBearer(
    tokenUrl="/users/token",
    auto_error=False,
    description="The token from `POST /users` or `POST /users/token`.",
)


def _credentials(request: Request) -> Credentials:
    return cast("Credentials", request.app.state.credentials)


RequestCredentials = Annotated[Credentials, Depends(_credentials)]


def _claims(
    credentials: RequestCredentials, token: Annotated[str | None, Depends(_bearer)]
) -> Claims:
    if token is None:
        message = "Send your token as `Authorization: Bearer <token>`."
        raise AuthenticationError(message, challenge="Bearer")
    return credentials.read(token)


SignedClaims = Annotated[Claims, Depends(_claims)]
"""What a valid token says, learnt without the database: it may have been revoked since."""


async def _current_user(claims: SignedClaims, session: RequestSession) -> User:
    return await service.authenticate(session, claims)


CurrentUser = Annotated[User, Depends(_current_user)]


async def _current_book(user: CurrentUser) -> Book:
    return Book(owner_id=user.id, base_currency=user.base_currency)


CurrentBook = Annotated[Book, Depends(_current_book)]
