"""Problems of exchange rates."""

from http import HTTPStatus

from backend.problems import ProblemError


class RateNotFoundError(ProblemError):
    """Answer when no known rate leads from one currency to another on or before a day."""

    status = HTTPStatus.NOT_FOUND
    type = "/problems/rate-not-found"
    title = "No exchange rate"
