"""Which line is named: in greenlets, in doctests, and where no line of the program runs."""

from __future__ import annotations

import inspect
import sysconfig
from pathlib import Path

import greenlet  # type: ignore[import-untyped]
import pytest
from sqlalchemy.util import greenlet_spawn

from db_testing import _origin


async def test_line_that_awaits_sqlalchemy() -> None:
    """What SQLAlchemy runs in a greenlet of its own is named by the line that waits for it."""
    frame = inspect.currentframe()
    assert frame is not None
    assert await greenlet_spawn(_origin.awaiting) == f"{__file__}:{frame.f_lineno}"


def test_line_in_a_greenlet_of_the_program() -> None:
    """Other greenlets are the program's, as gevent's are: what runs in them is the line."""
    lines: list[str] = []

    def work() -> None:
        lines.append(_origin.awaiting())

    greenlet.greenlet(work).switch()
    assert lines == [f"{__file__}:{work.__code__.co_firstlineno + 1}"]


@pytest.mark.parametrize(
    ("filename", "whose"),
    [
        (__file__, "the program's"),
        ("<doctest module.function[0]>", "the program's"),
        ("<string>", "a library's"),
        (str(Path(sysconfig.get_path("scripts"), "pytest")), "a library's"),
    ],
)
def test_whose_a_file_is(filename: str, whose: str) -> None:
    """A doctest is the program's; the command that runs pytest is not."""
    assert _origin.is_library(filename) is (whose == "a library's")
