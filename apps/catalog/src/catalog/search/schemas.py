"""What is found."""

from enum import StrEnum

import msgspec


class Mode(StrEnum):
    """Name a way of searching."""

    WORDS = "words"
    """Products with these words, in any form; `"a phrase"`, `or` and `-without` are understood."""
    LIKENESS = "likeness"
    """Products whose names look like the text, typing errors included."""
    MEANING = "meaning"
    """Products whose texts lie nearest."""
    HYBRID = "hybrid"
    """What all three find, what several find first."""


class Hit(msgspec.Struct):
    """Show a product that was found."""

    id: int
    sku: str
    name: str
    score: float
    """The higher, the better; comparable within one answer only."""
    headline: str
    """Where the words stand: HTML, in which `<b>` marks them and the text is escaped."""
