"""What came of an attempt. The API knows it without the HTTP client, which is a worker's."""

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus


@dataclass(frozen=True)
class Answer:
    """What came of a request."""

    status: int | None
    """Null if the receiver did not answer."""
    error: str | None = None
    """Why it did not."""
    retry_after: timedelta | None = None
    """How long the receiver asks to be left alone."""

    @property
    def accepted(self) -> bool:
        """Whether the receiver has it."""
        return (
            self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES
        )

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status == HTTPStatus.GONE
