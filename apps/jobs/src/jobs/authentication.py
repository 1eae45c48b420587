"""Who may call: whoever has the key."""

import secrets
from typing import Annotated

from fastapi import Depends, HTTPException, Request, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

_bearer = HTTPBearer(auto_error=False, description="The key in `JOBS_API_KEY`.")


def require_key(
    request: Request,
    sent: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Refuse a request without the key; answers 401."""
    key: str = request.app.state.api_key
    if sent is None or not secrets.compare_digest(sent.credentials.encode(), key.encode()):
        raise HTTPException(
            status.HTTP_401_UNAUTHORIZED,
            "Send the API key: `Authorization: Bearer <key>`.",
            headers={"WWW-Authenticate": "Bearer"},
        )
