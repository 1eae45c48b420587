"""How likely lines and entries are the same."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rapidfuzz import utils

from backend.reconciliation.scoring import WINDOW, Movement, near, score, together, total

DAY = dt.date(2026, 3, 10)


def _movement(amount: str, days: int = 0, text: str = "Acme invoice 7", id_: int = 1) -> Movement:
    return Movement(id_, DAY + dt.timedelta(days=days), Decimal(amount), text)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (_movement("100.00"), 100),
        (_movement("97.50"), 75),
        (_movement("95.00"), 50),
        (_movement("50.00"), 50),
        (_movement("100.00", days=7), 87),
        (_movement("100.00", days=14), 75),
        (_movement("100.00", days=-140), 75),
        (_movement("100.00", text="INVOICE 7, ACME"), 100),
        (_movement("100.00", text="zzz"), 75),
        (_movement("-100.00"), 0),
    ],
    ids=[
        "the same",
        "half the tolerance off",
        "all of it",
        "far off",
        "a week apart",
        "a fortnight apart",
        "months apart",
        "words in another order",
        "no word in common",
        "the other direction",
    ],
)
def test_the_score_is_of_amount_date_and_words(entry: Movement, expected: int) -> None:
    """50 for the amount, 25 for the date, 25 for the words, each less the further off."""
    assert score([_movement("100.00")], [entry]) == expected


def test_several_entries_are_compared_by_their_sum() -> None:
    """60 and 40 are the 100 of the line; the furthest of them in time counts."""
    entries = [_movement("60.00"), _movement("40.00", days=7)]

    assert score([_movement("100.00")], entries) == 87


MOVEMENTS = st.builds(
    Movement,
    id=st.integers(1, 9),
    date=st.dates(DAY - 2 * WINDOW, DAY + 2 * WINDOW),
    amount=st.decimals("-100", "100", places=2).filter(bool),
    description=st.text(max_size=20),
)


@given(
    lines=st.lists(MOVEMENTS, min_size=1, max_size=3),
    entries=st.lists(MOVEMENTS, min_size=1, max_size=3),
)
def test_a_score_is_a_percentage(lines: list[Movement], entries: list[Movement]) -> None:
    """Whatever is compared, it lies between 0 and 100."""
    assert 0 <= score(lines, entries) <= 100


@given(one=MOVEMENTS)
@example(one=Movement(1, DAY, Decimal(1), "\U00012f90"))  # a letter of Unicode 14
def test_nothing_is_likelier_than_the_movement_itself(one: Movement) -> None:
    """With itself it scores 100, or 75 if it says nothing that could be compared."""
    # What is a letter depends on whose table of Unicode is the newer one.
    wordless = not utils.default_process(one.description)

    assert score([one], [one]) == (75 if wordless else 100)


@given(one=MOVEMENTS, others=st.lists(MOVEMENTS, max_size=6, unique_by=lambda m: m.id))
def test_what_is_found_together_adds_up(one: Movement, others: list[Movement]) -> None:
    """Each group has two to four members, in the window, of exactly the amount."""
    for group in together(one, others):
        assert 2 <= len(set(group)) == len(group) <= 4
        assert total(group) == one.amount
        assert all(abs(member.date - one.date) <= WINDOW for member in group)


def test_a_group_that_adds_up_is_found() -> None:
    """10 is 3 and 7, or 3, 2 and 5; 4 more is too much of it."""
    others = [_movement(amount, id_=i) for i, amount in enumerate(["3", "7", "2", "5", "4"], 1)]

    groups = {frozenset(m.id for m in group) for group in together(_movement("10"), others)}

    assert groups == {frozenset({1, 2}), frozenset({1, 3, 4})}


def test_money_of_the_other_direction_is_not_in_a_group() -> None:
    """12 less 2 is 10, but a payment back is another story."""
    others = [_movement("12", id_=1), _movement("-2", id_=2)]

    assert list(together(_movement("10"), others)) == []


def test_only_the_nearest_are_combined() -> None:
    """Of very many the twelve nearest in time are tried, so that an answer comes soon."""
    far = [_movement("5.00", days=9, id_=i) for i in (101, 102)]
    close = [_movement("0.01", id_=i) for i in range(12)]

    assert list(together(_movement("10.00"), far + close)) == []
    assert len(list(together(_movement("10.00"), far + close[:10]))) == 1


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (_movement("100.00"), True),
        (_movement("95.01"), True),
        (_movement("95.00"), False),
        (_movement("104.99"), True),
        (_movement("100.00", days=14), True),
        (_movement("100.00", days=15), False),
        (_movement("-100.00"), False),
    ],
)
def test_a_candidate_is_near_in_time_and_amount(other: Movement, *, found: bool) -> None:
    """Less than five per cent off, and no more than a fortnight away."""
    assert list(near(_movement("100.00"), [other])) == ([other] if found else [])
