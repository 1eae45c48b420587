"""Fields that several domains have. Structs are msgspec's, as is usual in Litestar."""

from typing import Annotated

import msgspec
from litestar.params import QueryParameter

MAX_ID = 2**63 - 1

Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
# PostgreSQL's text has no NUL.
Name = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]+$", max_length=200)]
Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$", max_length=10_000)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]

Limit = Annotated[int, QueryParameter(ge=1, le=200)]
IdQuery = Annotated[int | None, QueryParameter(ge=1, le=MAX_ID)]
After = Annotated[int, QueryParameter(ge=0, le=MAX_ID)]
