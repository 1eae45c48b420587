"""Uploads: a request's body as a file, whatever its size, before a transaction begins."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import Annotated, Any, BinaryIO, cast

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from backend.problems import ProblemError
from backend.users.authentication import SignedClaims

MAX_BYTES = 64 * 2**20
_IN_MEMORY_BYTES = 2**20


class UploadTooLargeError(ProblemError):
    """Refuse a file that is larger than anything expected."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    type = "/problems/upload-too-large"
    title = "Upload too large"


class UnsupportedFormatError(ProblemError):
    """Refuse a file of a format that cannot be read here."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    type = "/problems/unsupported-format"
    title = "Unsupported format"


@dataclass(frozen=True)
class Upload:
    """Hold what was sent, read from its beginning."""

    media_type: str
    file: BinaryIO


async def _receive(request: Request, _: SignedClaims) -> AsyncIterator[Upload]:
    """Write the body to a file: in memory while it is small, on disk from 1 MiB on.

    A stranger is refused before anything is read, since the token comes first. The database comes
    after it: a slow client would otherwise hold a connection for as long as it likes.
    """
    size = 0
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BYTES:
                message = f"The file is larger than {MAX_BYTES} bytes; split it."
                raise UploadTooLargeError(message)
            await run_in_threadpool(file.write, chunk)
        file.seek(0)
        header = Message()
        header["Content-Type"] = request.headers.get("Content-Type", "")
        yield Upload(header.get_content_type(), cast("BinaryIO", file))


ReceivedUpload = Annotated[Upload, Depends(_receive, scope="function")]
"""Let it be an endpoint's first parameter, since dependencies are met in this order."""


def documented_upload(*media_types: str) -> dict[str, Any]:
    """Describe the body for OpenAPI, which cannot be derived from a stream."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    content = dict.fromkeys(media_types, schema)
    return {"requestBody": {"required": True, "content": content}}
