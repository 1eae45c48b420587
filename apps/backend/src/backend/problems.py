"""Errors as `application/problem+json` (RFC 9457), for every error the API can answer with."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"

_logger = logging.getLogger(__name__)


class ProblemError(Exception):
    """Fail a request; a subclass is one type of problem, an instance one occurrence of it.

    `members` are extension members: what a client needs in order to act, as JSON values.
    """

    status: ClassVar[HTTPStatus]
    type: ClassVar[str]
    """A URI reference that clients may compare: it stays the same when texts change."""
    title: ClassVar[str]

    def __init__(
        self, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        """Describe one occurrence in `detail`: what failed, with its values, and what to do."""
        super().__init__(detail)
        self.detail = detail
        self.headers = headers
        self.members = members


class MalformedRequestError(ProblemError):
    """Refuse a request whose header or cursor cannot be read."""

    status = HTTPStatus.BAD_REQUEST
    type = "/problems/malformed-request"
    title = "Malformed request"


class StaleVersionError(ProblemError):
    """Refuse a change that was made from an older version of the resource."""

    status = HTTPStatus.PRECONDITION_FAILED
    type = "/problems/stale-version"
    title = "Stale version"


class ProblemDetails(BaseModel):
    """Document the body of an error; a problem type may add members of its own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


# For FastAPI's `responses`: the one entry documents the errors of every operation.
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Any error, as problem details (RFC 9457).",
        "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}},
    }
}


def _response(
    status: int,
    detail: str,
    *,
    type_: str = "about:blank",
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> JSONResponse:
    # RFC 9457: the title of "about:blank", a problem without a type, is the status's own phrase.
    title = title or HTTPStatus(status).phrase
    body = {"type": type_, "title": title, "status": status, "detail": detail}
    return JSONResponse(
        {**body, **(members or {})}, status_code=status, headers=headers, media_type=MEDIA_TYPE
    )


def _problem(_: Request, error: ProblemError) -> JSONResponse:
    return _response(
        error.status,
        error.detail,
        type_=error.type,
        title=error.title,
        headers=error.headers,
        members=error.members,
    )


def _http_exception(request: Request, error: HTTPException) -> JSONResponse:
    detail = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"No resource at {request.url.path}."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not allowed at {request.url.path}."
    return _response(error.status_code, detail, headers=error.headers)


def _validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
    # The rejected input is not echoed: it may hold a secret, or text that JSON cannot carry.
    errors = [
        {
            "in": str(where),
            "pointer": "".join(f"/{part}" for part in path),
            "detail": item["msg"],
        }
        for item in error.errors()
        for where, *path in [item["loc"]]
    ]
    return _response(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{len(errors)} value(s) of the request are not valid; see `errors`.",
        type_="/problems/invalid-request",
        title="Invalid request",
        members={"errors": errors},
    )


def _stale_data(_: Request, __: Exception) -> JSONResponse:
    return _response(
        HTTPStatus.PRECONDITION_FAILED,
        "Another request changed this resource at the same time; fetch it and try again.",
        type_=StaleVersionError.type,
        title=StaleVersionError.title,
    )


def _integrity_error(_: Request, error: Exception) -> JSONResponse:
    # A rule which a service did not foresee, or a race that it lost: the database has the say.
    _logger.warning("The database refused a write.", exc_info=error)
    return _response(
        HTTPStatus.CONFLICT,
        "The change would break a rule of the database; fetch the resource and try again.",
        type_="/problems/integrity",
        title="Integrity conflict",
    )


def _internal_error(_: Request, __: Exception) -> JSONResponse:
    return _response(
        HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed; the failure has been logged."
    )


def register_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer every error, its own and the framework's, with problem details."""
    app.exception_handler(ProblemError)(_problem)
    app.exception_handler(HTTPException)(_http_exception)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(StaleDataError)(_stale_data)
    app.exception_handler(IntegrityError)(_integrity_error)
    app.exception_handler(Exception)(_internal_error)
