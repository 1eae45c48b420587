"""Cursors, without a database."""

import base64
import datetime as dt

import pytest
from pydantic import TypeAdapter

from backend.fields import Id
from backend.journal.models import JournalEntry
from backend.pagination import Keyset
from backend.problems import MalformedRequestError

KEYSET = Keyset[JournalEntry](
    "entries", (JournalEntry.date, JournalEntry.id), TypeAdapter(tuple[dt.date, Id])
)


def _cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def test_a_cursor_gives_back_the_position_it_was_made_from() -> None:
    """Decoding restores values and types of the row's key."""
    row = JournalEntry(id=7, date=dt.date(2026, 2, 28))

    assert KEYSET.decode(KEYSET.encode(row)) == (dt.date(2026, 2, 28), 7)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "abcde",
        "é",
        _cursor("accounts:[]"),
        _cursor("entries:"),
        _cursor('entries:["2026-02-28"]'),
        _cursor('entries:["2026-02-30",7]'),
        _cursor('entries:["2026-02-28",9223372036854775808]'),
        _cursor('entries:["2026-02-28","x"]'),
    ],
)
def test_a_cursor_that_the_listing_did_not_write_is_refused(cursor: str) -> None:
    """Bad encoding, another listing's position and values of a wrong type are all refused."""
    with pytest.raises(MalformedRequestError, match="cursor"):
        KEYSET.decode(cursor)
