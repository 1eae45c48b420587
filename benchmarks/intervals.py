"""How far a median can be trusted: the interval of its bootstrapped likes."""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLED: Final = 1000
"""How often the median is taken anew for its interval."""
SEED: Final = 1
"""Of that, so that figures can be had again from the same values."""


class Median(NamedTuple):
    """A median, between the ends of its interval of 95 %."""

    low: float
    middle: float
    high: float


def median(values: Sequence[float]) -> Median:
    """Return the median of the values' medians, when they are drawn from again and again."""
    chosen = random.Random(SEED)  # noqa: S311  # no secret
    medians = [statistics.median(chosen.choices(values, k=len(values))) for _ in range(RESAMPLED)]
    low, *_, high = statistics.quantiles(medians, n=40)
    return Median(low, statistics.median(values), high)
