"""What `db-testing doctor` has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["ok", "note", "warning", "error"]
"""As it should be; worth knowing; may hurt; keeps tests from running as they should."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    found: str
    """With its values, and why it is so."""
    remedy: str | None = None
    """What to do about it, unless nothing is to be done."""
