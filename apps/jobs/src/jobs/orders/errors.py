"""Problems of orders."""

from http import HTTPStatus

from jobs.problems import NotFoundError, ProblemError


class OrderNotFoundError(NotFoundError):
    """Answer for an order that does not exist."""

    title = "Order not found"


class OrderPaidError(ProblemError):
    """Refuse a second payment."""

    status = HTTPStatus.CONFLICT
    title = "Order is paid"
