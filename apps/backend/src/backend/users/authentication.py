"""Dependencies that tell a request's user from its bearer token."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from backend.database import RequestSession
from backend.users import service
from backend.users.errors import AuthenticationError
from backend.users.models import User
from backend.users.service import Book

_bearer = HTTPBearer(auto_error=False, description="The token from `POST /users`.")


async def _current_user(
    session: RequestSession,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> User:
    if credentials is None:
        message = "Send your token as `Authorization: Bearer <token>`."
        raise AuthenticationError(message, challenge="Bearer")
    return await service.authenticate(session, credentials.credentials)


CurrentUser = Annotated[User, Depends(_current_user)]


async def _current_book(user: CurrentUser) -> Book:
    return Book(owner_id=user.id, base_currency=user.base_currency)


CurrentBook = Annotated[Book, Depends(_current_book)]
