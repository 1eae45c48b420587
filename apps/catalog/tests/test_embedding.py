"""Embeddings by hashing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.database import DIMENSIONS
from catalog.embedding import HashingEmbedder

EMBEDDER = HashingEmbedder()
LAMP = {24: 0.3816, 53: 0.6461, 101: -0.3816, 152: -0.3816, 246: -0.3816}


def _likeness(one: str, other: str) -> float:
    pairs = zip(EMBEDDER.embed(one), EMBEDDER.embed(other), strict=True)
    return sum(a * b for a, b in pairs)


@given(texts=st.lists(st.text(), max_size=3))
def test_a_vector_has_length_one(texts: list[str]) -> None:
    """Whatever the text, also if there is none: distances between directions need one."""
    vector = EMBEDDER.embed(*texts)
    assert len(vector) == DIMENSIONS
    assert math.hypot(*vector) == pytest.approx(1)


def test_vectors_are_those_of_other_machines() -> None:
    """What was stored yesterday is found tomorrow: a change of these numbers needs a migration."""
    vector = EMBEDDER.embed("lamp")
    assert {place: round(number, 4) for place, number in enumerate(vector) if number} == LAMP


def test_like_texts_lie_near_each_other() -> None:
    """Nearer than others; and case does not count."""
    assert _likeness("reading lamp", "READING LAMPS") > 0.7
    assert abs(_likeness("reading lamp", "spade")) < 0.3
    assert _likeness("Lamp", "lamp") == pytest.approx(1)
