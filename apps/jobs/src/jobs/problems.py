"""Errors as `application/problem+json` (RFC 9457)."""

from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """Fail a request; a subclass is one type of problem, an instance one occurrence of it."""

    status: ClassVar[HTTPStatus]
    title: ClassVar[str]


class NotFoundError(ProblemError):
    """Answer for what does not exist."""

    status = HTTPStatus.NOT_FOUND
    title = "Not found"


class ProblemDetails(BaseModel):
    """Document the body of an error; that of an invalid request has `errors` as well."""

    model_config = ConfigDict(extra="allow")

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


def _problem(_: Request, error: ProblemError) -> JSONResponse:
    body = {"title": error.title, "status": error.status, "detail": str(error)}
    return JSONResponse(body, status_code=error.status, media_type=MEDIA_TYPE)


def _http_exception(_: Request, error: HTTPException) -> JSONResponse:
    title = HTTPStatus(error.status_code).phrase
    body = {"title": title, "status": error.status_code, "detail": error.detail}
    return JSONResponse(
        body, status_code=error.status_code, media_type=MEDIA_TYPE, headers=error.headers
    )


def _validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
    # The rejected input is not echoed: it may be a number or a text that JSON cannot carry.
    errors = [
        {
            "in": str(where),
            "pointer": "".join(f"/{part}" for part in path),
            "detail": item["msg"],
        }
        for item in error.errors()
        for where, *path in [item["loc"]]
    ]
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    detail = f"{len(errors)} value(s) of the request are not valid; see `errors`."
    body = {"title": "Invalid request", "status": status, "detail": detail, "errors": errors}
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE)


def register_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer errors, its own and the framework's, with problem details."""
    app.exception_handler(ProblemError)(_problem)
    app.exception_handler(HTTPException)(_http_exception)
    app.exception_handler(RequestValidationError)(_validation_error)
