"""Titles as they stand in addresses."""

from {{ name | snake_case }} import slug


def test_words_are_joined() -> None:
    """However much space there is between them."""
    assert slug("  Two  Words ") == "two-words"
