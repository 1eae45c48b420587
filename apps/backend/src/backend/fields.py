"""Types of fields which requests share, as narrow as PostgreSQL needs them."""

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

BIGINT_MAX = 2**63 - 1

Id = Annotated[int, Field(ge=1, le=BIGINT_MAX)]
PathId = Annotated[int, Path(ge=1, le=BIGINT_MAX)]


def _storable(text: str) -> str:
    if "\0" in text:
        message = "must not contain a NUL character"
        raise ValueError(message)
    return text


# PostgreSQL cannot store NUL in text.
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(_storable),
]

# An unknown field is a misspelt one more often than not; ignoring it would lose what was meant.
STRICT_INPUT = ConfigDict(extra="forbid")
