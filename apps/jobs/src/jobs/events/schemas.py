"""Events as requests and answers have them."""

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue

from jobs.fields import EventType

_MAX_BYTES = 256 * 1024


def _storable(payload: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        text = json.dumps(payload, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, UnicodeEncodeError):
        message = "the payload has a number or a text that JSON cannot carry"
        raise ValueError(message) from None
    if len(text) > _MAX_BYTES:
        message = f"the payload has {len(text)} bytes; {_MAX_BYTES} are allowed"
        raise ValueError(message)
    if b"\\u0000" in text:
        message = "the payload has a NUL character, which PostgreSQL cannot store"
        raise ValueError(message)
    return payload


class EventIn(BaseModel):
    """Describe what has happened."""

    type: EventType
    payload: Annotated[dict[str, JsonValue], AfterValidator(_storable)]


class EventOut(BaseModel):
    """Show an event."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    type: str
    payload: dict[str, Any]
    occurred_at: datetime
    fanned_out_at: datetime | None
