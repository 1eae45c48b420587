"""Problems of deliveries."""

from http import HTTPStatus

from jobs.problems import NotFoundError, ProblemError


class DeliveryNotFoundError(NotFoundError):
    """Answer for a delivery that does not exist."""

    title = "Delivery not found"


class NotDeadError(ProblemError):
    """Refuse to retry or discard what is no dead letter."""

    status = HTTPStatus.CONFLICT
    title = "Not a dead letter"
