"""How likely lines of a statement and entries are the same: a score from 0 to 100.

Up to 50 for the amount, 25 for the dates, 25 for the words. Pure functions, without a database.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations

from rapidfuzz import fuzz, utils

WINDOW = dt.timedelta(days=14)
"""What is further apart is not the same movement."""

_AMOUNT, _DATE, _WORDS = 50, 25, 25
# A bank may have taken a fee from what was sent.
_TOLERANCE = Fraction(5, 100)
# All combinations of four of twelve are 793: a line is compared with all of them in milliseconds.
_MOST_TOGETHER = 4
_NEAREST = 12


@dataclass(frozen=True)
class Movement:
    """Hold one line, or one entry as it moves the account; what comes in is positive."""

    id: int
    date: dt.date
    amount: Decimal
    description: str


def total(movements: Sequence[Movement]) -> Decimal:
    """Add the amounts up."""
    return sum((movement.amount for movement in movements), Decimal())


def score(lines: Sequence[Movement], entries: Sequence[Movement]) -> int:
    """Compare amounts, dates and words; 0 when money goes the other way."""
    ours, theirs = Fraction(total(entries)), Fraction(total(lines))
    if ours * theirs <= 0:
        return 0
    off = abs(ours - theirs) / abs(theirs) / _TOLERANCE
    apart = max(abs(line.date - entry.date) for line in lines for entry in entries)
    likeness = fuzz.token_set_ratio(
        " ".join(line.description for line in lines),
        " ".join(entry.description for entry in entries),
        processor=utils.default_process,
    )
    return (
        int(_AMOUNT * max(Fraction(), 1 - off))
        + int(_DATE * max(Fraction(), 1 - Fraction(apart.days, WINDOW.days)))
        + int(_WORDS * likeness / 100)
    )


def together(one: Movement, others: Sequence[Movement]) -> Iterator[tuple[Movement, ...]]:
    """Find what adds up to `one` exactly: two to four of the others that are nearest in time."""
    fitting = [
        other
        for other in others
        if other.amount * one.amount > 0 and abs(other.date - one.date) <= WINDOW
    ]
    fitting.sort(key=lambda other: (abs(other.date - one.date), other.id))
    for size in range(2, _MOST_TOGETHER + 1):
        for some in combinations(fitting[:_NEAREST], size):
            if total(some) == one.amount:
                yield some


def near(one: Movement, others: Sequence[Movement]) -> Iterator[Movement]:
    """Find single others that could be `one`: near in time, and almost of the same amount."""
    most = abs(Fraction(one.amount)) * _TOLERANCE
    for other in others:
        # The dates first: they are compared much faster than fractions are made.
        if abs(other.date - one.date) > WINDOW:
            continue
        if abs(Fraction(other.amount - one.amount)) < most:
            yield other
