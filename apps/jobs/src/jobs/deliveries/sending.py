"""Sending: one signed request, as Standard Webhooks has it (standardwebhooks.com, version 1).

Every attempt of a delivery carries the same `webhook-id`. A receiver that keeps the ids it has seen
has each effect once, although a request may come twice: a worker can die between the receiver's
answer and the commit that records it.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from jobs.deliveries.models import Delivery


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
        return self.status is not None and httpx.codes.is_success(self.status)

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status == httpx.codes.GONE


def signature(secret: bytes, id_: str, timestamp: int, body: bytes) -> str:
    """Sign what is sent, with what identifies it and when it is sent."""
    signed = b".".join((id_.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


async def send(client: httpx.AsyncClient, delivery: Delivery, now: datetime) -> Answer:
    """Send a delivery, whose event and endpoint are loaded, and say what came of it."""
    event = delivery.event
    body = json.dumps(
        {"type": event.type, "timestamp": event.occurred_at.isoformat(), "data": event.payload}
    ).encode()
    id_, timestamp = f"delivery_{delivery.id}", int(now.timestamp())
    headers = {
        "content-type": "application/json",
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(delivery.endpoint.secret, id_, timestamp, body),
    }
    try:
        response = await client.post(delivery.endpoint.url, content=body, headers=headers)
    except httpx.HTTPError as error:
        return Answer(None, f"{type(error).__name__}: {error}")
    return Answer(
        response.status_code, retry_after=_retry_after(response.headers.get("retry-after"), now)
    )


def _retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read the header (RFC 9110, 10.2.3): seconds or a date; what is neither is ignored."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value), timedelta.max.days))
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(timedelta(0), (at if at.tzinfo else at.replace(tzinfo=UTC)) - now)
