"""Problems of events."""

from jobs.problems import NotFoundError


class EventNotFoundError(NotFoundError):
    """Answer for an event that does not exist."""

    title = "Event not found"
