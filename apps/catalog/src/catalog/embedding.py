"""Embeddings: texts as vectors, of which those of like texts lie near each other."""

import hashlib
import math
import re
from collections import Counter
from typing import Protocol, runtime_checkable

from catalog.database import DIMENSIONS

_WORD = re.compile(r"\w+")


@runtime_checkable  # Litestar checks what it injects
class Embedder(Protocol):
    """Make vectors of texts; also in several threads at once, for imports."""

    def embed(self, *texts: str) -> list[float]:
        """Return one vector of length 1, of `DIMENSIONS` numbers, for all texts together."""
        ...


class HashingEmbedder:
    """Make vectors by the hashing trick, of words and of their trigrams.

    It needs no model, and knows no meaning but that of shared words and their parts ("lamps" lies
    near "lamp"). A service that embeds with a model goes in its place: see `main.py`.

    Source: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009.
    """

    def embed(self, *texts: str) -> list[float]:
        """Return one vector of length 1, of `DIMENSIONS` numbers, for all texts together."""
        vector = [0.0] * DIMENSIONS
        for feature, count in self._features(" ".join(texts)).items():
            hashed = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest())
            sign = 1 if hashed & 1 else -1
            vector[(hashed >> 1) % DIMENSIONS] += sign * (1 + math.log(count))
        length = math.hypot(*vector)
        if length == 0:  # of no words, or of some that cancel each other; no vector has length 0
            return [1.0] + [0.0] * (DIMENSIONS - 1)
        return [number / length for number in vector]

    def _features(self, text: str) -> Counter[str]:
        features: Counter[str] = Counter()
        for word in _WORD.findall(text.lower()):
            features[word] += 2
            padded = f"<{word}>"
            features.update(padded[start : start + 3] for start in range(len(padded) - 2))
        return features
