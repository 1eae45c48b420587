"""Problems of endpoints."""

from jobs.problems import NotFoundError


class EndpointNotFoundError(NotFoundError):
    """Answer for an endpoint that does not exist."""

    title = "Endpoint not found"
