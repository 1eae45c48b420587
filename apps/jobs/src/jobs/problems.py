"""Errors as `application/problem+json` (RFC 9457)."""

from http import HTTPStatus
from typing import ClassVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
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


def _problem(_: Request, error: ProblemError) -> JSONResponse:
    body = {"title": error.title, "status": error.status, "detail": str(error)}
    return JSONResponse(body, status_code=error.status, media_type=MEDIA_TYPE)


def _http_exception(_: Request, error: HTTPException) -> JSONResponse:
    title = HTTPStatus(error.status_code).phrase
    body = {"title": title, "status": error.status_code, "detail": error.detail}
    return JSONResponse(
        body, status_code=error.status_code, media_type=MEDIA_TYPE, headers=error.headers
    )


def register_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer errors with problem details; FastAPI's own for invalid requests stay."""
    app.exception_handler(ProblemError)(_problem)
    app.exception_handler(HTTPException)(_http_exception)
