"""Optimistic locking over HTTP: a row's version is its ETag, and `If-Match` guards changes."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header

from backend.problems import MalformedRequestError, ProblemError, StaleVersionError

_LIST_OF_ETAGS = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"(?:\s*,\s*(?:W/)?"[\x21\x23-\x7e]*")*')
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')


class MissingVersionError(ProblemError):
    """Refuse a change that does not say which version it was made from."""

    status = HTTPStatus.PRECONDITION_REQUIRED
    type = "/problems/version-required"
    title = "Version required"


def etag(version: int) -> str:
    """Write a version as a strong entity tag."""
    return f'"{version}"'


@dataclass(frozen=True)
class Precondition:
    """Hold the entity tags that a client accepts; `None` stands for `*`, any version."""

    etags: frozenset[str] | None

    @classmethod
    def parse(cls, header: str) -> "Precondition":
        """Read an `If-Match` header (RFC 9110); raises `MalformedRequestError`."""
        header = header.strip()
        if header == "*":
            return cls(None)
        if not _LIST_OF_ETAGS.fullmatch(header):
            message = f'If-Match must hold quoted entity tags, such as "3"; it holds {header!r}.'
            raise MalformedRequestError(message)
        return cls(frozenset(_ETAG.findall(header)))

    def check(self, version: int) -> None:
        """Raise `StaleVersionError` unless the client accepts `version`.

        The comparison is the strong one that RFC 9110 asks for: a weak tag never matches.
        """
        if self.etags is not None and etag(version) not in self.etags:
            message = (
                f"The resource is at version {etag(version)}, If-Match asks for "
                f"{', '.join(sorted(self.etags))}; fetch it and try again."
            )
            raise StaleVersionError(message, current=etag(version))


ANY_VERSION = Precondition(None)
"""For changes that one domain makes in another on its own account."""


def _if_match(
    if_match: Annotated[str | None, Header(description="The ETag that was last read.")] = None,
) -> Precondition:
    if if_match is None:
        message = "Send the ETag of the version to change in an If-Match header."
        raise MissingVersionError(message)
    return Precondition.parse(if_match)


IfMatch = Annotated[Precondition, Depends(_if_match)]
