"""Errors as `application/problem+json` (RFC 9457)."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, ClassVar

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap
from sqlalchemy.exc import DBAPIError

MEDIA_TYPE = "application/problem+json"

_logger = logging.getLogger(__name__)


class ProblemError(Exception):
    """Fail a request; a subclass is one type of problem, an instance one occurrence of it."""

    status: ClassVar[HTTPStatus]
    title: ClassVar[str]


class NotFoundError(ProblemError):
    """Answer for what does not exist, or is another tenant's: the two look alike."""

    status = HTTPStatus.NOT_FOUND
    title = "Not found"


class ConflictError(ProblemError):
    """Refuse what the present state forbids."""

    status = HTTPStatus.CONFLICT
    title = "Conflict"


class InvalidError(ProblemError):
    """Refuse what no state would allow."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "Invalid request"


def _response(status: int, title: str, detail: str, **members: object) -> Response[Any]:
    body = {"title": title, "status": status, "detail": detail, **members}
    return Response(body, status_code=status, media_type=MEDIA_TYPE)


def _problem(_: Request[Any, Any, Any], error: ProblemError) -> Response[Any]:
    return _response(error.status, error.title, str(error))


def _http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _logger.error("A request failed.", exc_info=error)
    response = _response(error.status_code, HTTPStatus(error.status_code).phrase, error.detail)
    response.headers.update(error.headers or {})
    return response


def _invalid(_: Request[Any, Any, Any], error: ValidationException) -> Response[Any]:
    # What was sent is not repeated: it may hold what JSON cannot carry.
    errors = [
        {key: str(item[key]) for key in ("source", "key", "message") if key in item}
        for item in error.extra or []
        if isinstance(item, dict)
    ]
    return _response(
        InvalidError.status,
        InvalidError.title,
        f"{len(errors)} value(s) of the request are not valid; see `errors`.",
        errors=errors,
    )


def _internal(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    _logger.error("A request failed.", exc_info=error)
    phrase = HTTPStatus.INTERNAL_SERVER_ERROR.phrase
    return _response(500, phrase, "The server failed; the failure has been logged.")


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    ProblemError: _problem,
    ValidationException: _invalid,
    HTTPException: _http,
    Exception: _internal,
}


@contextmanager
def translated(problems: Mapping[str, ProblemError]) -> Iterator[None]:
    """Raise the problem that stands for a violated constraint; other errors pass unchanged.

    Asking the database to refuse is free of the race between a check and the write it permits.
    """
    try:
        yield
    except DBAPIError as error:
        driver_error: Any = error.orig.__cause__ if error.orig is not None else None
        problem = problems.get(getattr(driver_error, "constraint_name", None) or "")
        if problem is None:
            raise
        raise problem from error
