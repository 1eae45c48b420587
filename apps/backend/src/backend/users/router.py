"""Users over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Form, Response, status

from backend.database import RequestSession
from backend.users import service
from backend.users.authentication import CurrentUser, RequestCredentials
from backend.users.credentials import Credentials
from backend.users.models import User
from backend.users.schemas import (
    PasswordChange,
    SignIn,
    TokenOut,
    UserCreate,
    UserOut,
    UserWithToken,
)

router = APIRouter(prefix="/users", tags=["users"])


def _token(credentials: Credentials, user: User, response: Response) -> TokenOut:
    response.headers["Cache-Control"] = "no-store"
    return TokenOut(
        access_token=credentials.issue(user.id, user.token_generation),
        expires_in=int(credentials.lifetime.total_seconds()),
    )


@router.post("", status_code=status.HTTP_201_CREATED)
async def register(
    data: UserCreate,
    credentials: RequestCredentials,
    session: RequestSession,
    response: Response,
) -> UserWithToken:
    """Create a user with empty books, signed in."""
    user = await service.register(session, credentials, data)
    response.headers["Location"] = "/users/me"
    shown = UserOut.model_validate(user).model_dump()
    return UserWithToken(**shown, **_token(credentials, user, response).model_dump())


@router.post("/token")
async def sign_in(
    data: Annotated[SignIn, Form()],
    credentials: RequestCredentials,
    session: RequestSession,
    response: Response,
) -> TokenOut:
    """Exchange e-mail address and password for a token (OAuth 2, grant type `password`)."""
    user = await service.sign_in(session, credentials, data)
    return _token(credentials, user, response)


@router.get("/me", response_model=UserOut)
async def show_me(user: CurrentUser) -> User:
    """Show the user whose token this is."""
    return user


@router.post("/me/token")
async def rotate_token(
    user: CurrentUser,
    credentials: RequestCredentials,
    session: RequestSession,
    response: Response,
) -> TokenOut:
    """Sign out everywhere: replace all tokens, the one of this request too, by a new one."""
    await service.revoke_tokens(session, user)
    return _token(credentials, user, response)


@router.put("/me/password")
async def change_password(
    data: PasswordChange,
    user: CurrentUser,
    credentials: RequestCredentials,
    session: RequestSession,
    response: Response,
) -> TokenOut:
    """Change the password and sign out everywhere; the answer is a new token."""
    await service.change_password(session, credentials, user, data)
    return _token(credentials, user, response)
