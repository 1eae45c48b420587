"""Problems of users and their tokens."""

from http import HTTPStatus

from backend.problems import ProblemError


class EmailTakenError(ProblemError):
    """Refuse a second user with the same e-mail address."""

    status = HTTPStatus.CONFLICT
    type = "/problems/email-taken"
    title = "E-mail address taken"


class AuthenticationError(ProblemError):
    """Refuse a request without a valid token, and say how to authenticate (RFC 6750)."""

    status = HTTPStatus.UNAUTHORIZED
    type = "/problems/authentication"
    title = "Authentication needed"

    def __init__(self, detail: str, *, challenge: str) -> None:
        """Say in `challenge` what to send, for the `WWW-Authenticate` header."""
        super().__init__(detail, headers={"WWW-Authenticate": challenge})
