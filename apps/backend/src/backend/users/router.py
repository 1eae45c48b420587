"""Users over HTTP."""

from fastapi import APIRouter, Response, status

from backend.database import RequestSession
from backend.users import service
from backend.users.authentication import CurrentUser
from backend.users.models import User
from backend.users.schemas import TokenOut, UserCreate, UserOut, UserWithToken

router = APIRouter(prefix="/users", tags=["users"])


@router.post("", status_code=status.HTTP_201_CREATED)
async def register(data: UserCreate, session: RequestSession, response: Response) -> UserWithToken:
    """Create a user with empty books; the token is in this answer and never again."""
    user, token = await service.register(session, data)
    response.headers["Location"] = "/users/me"
    response.headers["Cache-Control"] = "no-store"
    return UserWithToken(**UserOut.model_validate(user).model_dump(), token=token)


@router.get("/me", response_model=UserOut)
async def show_me(user: CurrentUser) -> User:
    """Show the user whose token this is."""
    return user


@router.post("/me/token")
async def rotate_token(user: CurrentUser, session: RequestSession, response: Response) -> TokenOut:
    """Replace the token; the one that authorised this request stops working."""
    response.headers["Cache-Control"] = "no-store"
    return TokenOut(token=await service.rotate_token(session, user))
