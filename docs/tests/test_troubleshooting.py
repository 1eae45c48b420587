"""The page of error messages has those of the source, all of them, and no other."""

from __future__ import annotations

import re

import pytest

from . import messages

NO_SCHEMA = "def test_it(db_sync): pass"
SCHEMA = """
import pytest
from db_testing import Schema
from sqlalchemy import MetaData

@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_metadata(MetaData())
"""
PLAIN = f"{SCHEMA}\ndef test_it(db): pass"
MARKED = f"{SCHEMA}\n@pytest.mark.db(isolation='none')\ndef test_it(db_sync): pass"


def test_page_is_up_to_date() -> None:
    """`docs/troubleshooting.md` is what the source says."""
    assert messages.PAGE.read_text(encoding="utf-8") == messages.page(), (
        "run: .tools/docs/bin/python docs/tests/messages.py"
    )


def test_every_error_has_a_message() -> None:
    """No exception is left out, but for those that only group others."""
    found = {message.kind for message in messages.messages()}
    assert set(messages.CLASSES) - found == set()


@pytest.mark.parametrize(
    ("kind", "code"),
    [("SchemaError", NO_SCHEMA), ("FixtureError", PLAIN), ("UsageError", MARKED)],
    ids=["no schema", "plain function", "marker"],
)
def test_what_pytest_prints_is_found(
    kind: str, code: str, suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heading, its placeholders filled in, stands in what a run prints."""
    monkeypatch.setenv("COLUMNS", "1000")
    suite.makepyfile(code)
    result = suite.runpytest()
    printed = " ".join(result.outlines + result.errlines)
    assert any(
        re.search(re.sub(r"\\\{.*?\\\}", ".+", re.escape(message.parts[0])), printed)
        for message in messages.messages()
        if message.kind == kind
    )
