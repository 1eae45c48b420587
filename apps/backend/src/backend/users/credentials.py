"""Passwords and access tokens: hashed by pwdlib with Argon2, signed by PyJWT."""

import datetime as dt
from dataclasses import dataclass, field

import jwt
from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from backend.fields import Id
from backend.settings import Settings
from backend.users.errors import AuthenticationError

_ALGORITHM = "HS256"
_AUDIENCE = "backend"


class Claims(BaseModel):
    """Hold what a token says: whose it is, and of which generation of theirs."""

    sub: Id
    gen: int


@dataclass(frozen=True)
class Credentials:
    """Check passwords and tokens.

    Argon2 takes tens of milliseconds by design, so it runs in a thread: the event loop serves
    others meanwhile.
    """

    secret: str = field(repr=False)
    """Signs tokens; who knows it can be anybody."""
    lifetime: dt.timedelta
    passwords: PasswordHash = field(default_factory=PasswordHash.recommended)
    _decoy: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Hash a password that nobody has, to compare with when there is no user."""
        object.__setattr__(self, "_decoy", self.passwords.hash("nobody has this password"))

    @classmethod
    def from_settings(cls, settings: Settings) -> "Credentials":
        """Hash passwords as pwdlib recommends, and sign with the configured secret."""
        lifetime = dt.timedelta(minutes=settings.token_lifetime_minutes)
        return cls(settings.token_secret.get_secret_value(), lifetime)

    async def hash(self, password: str) -> str:
        """Hash a new password, with a salt of its own."""
        return await run_in_threadpool(self.passwords.hash, password)

    async def verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Tell whether the password is right, and how to store it anew if the cost has changed.

        For a user that does not exist (`None`) it takes as long, so that the time does not tell.
        """
        try:
            right, renewed = await run_in_threadpool(
                self.passwords.verify_and_update, password, stored or self._decoy
            )
        except UnknownHashError:
            # Who registered before there were passwords.
            return False, None
        return right and stored is not None, renewed

    def issue(self, user_id: int, generation: int) -> str:
        """Sign a token."""
        now = dt.datetime.now(dt.UTC)
        claims = {
            "sub": str(user_id),
            "gen": generation,
            "aud": _AUDIENCE,
            "iat": now,
            "exp": now + self.lifetime,
        }
        return jwt.encode(claims, self.secret, _ALGORITHM)

    def read(self, token: str) -> Claims:
        """Check a token's signature and age; raises `AuthenticationError`."""
        try:
            claims = jwt.decode(
                token,
                self.secret,
                # Only ours: a token that chooses its own algorithm could choose none.
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                options={"require": ["sub", "gen", "exp", "aud"]},
            )
            return Claims.model_validate(claims)
        except jwt.ExpiredSignatureError:
            message = "The token has expired; get a new one at `POST /users/token`."
        except (jwt.InvalidTokenError, ValidationError):
            message = "The token is not one that this service has signed."
        raise AuthenticationError(message, challenge='Bearer error="invalid_token"')
