"""Sending: one signed request, as Standard Webhooks has it (standardwebhooks.com, version 1).

Every attempt of a delivery carries the same `webhook-id`. A receiver that keeps the ids it has seen
has each effect once, although a request may come twice: a worker can die between the receiver's
answer and the commit that records it.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from jobs.deliveries.answers import Answer
from jobs.deliveries.models import Delivery


def signature(secret: bytes, id_: str, timestamp: int, body: bytes) -> str:
    """Sign what is sent, with what identifies it and when it is sent."""
    signed = b".".join((id_.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


async def send(
    client: httpx.AsyncClient, delivery: Delivery, now: datetime, patience: timedelta
) -> Answer:
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
        # httpx's own limits are for each read: a receiver that answers bit by bit would keep us
        # for ever. Its body is not read: it could be more than a worker has memory for.
        async with (
            asyncio.timeout(patience.total_seconds()),
            client.stream("POST", delivery.endpoint.url, content=body, headers=headers) as response,
        ):
            asked = _retry_after(response.headers.get("retry-after"), now)
            return Answer(response.status_code, retry_after=asked)
    except TimeoutError:
        return Answer(None, f"no answer within {patience.total_seconds():g} s")
    except httpx.HTTPError as error:
        return Answer(None, f"{type(error).__name__}: {error}")


def _retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read the header (RFC 9110, 10.2.3): seconds or a date; what is neither is ignored."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        # Python reads no number of thousands of digits; twelve are more than any limit of ours.
        return timedelta(seconds=min(int(value[:12]), timedelta.max.days))
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(timedelta(0), (at if at.tzinfo else at.replace(tzinfo=UTC)) - now)
