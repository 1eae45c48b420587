"""A pytest plugin: count what tests do, which no load of the machine can change.

Counted are calls of functions, and writes to the sockets of the event loop, which lead to the
server. The first tests find caches cold, and do not count.
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

COLD: Final = 20
"""Tests that do not count."""


class Counter:
    """What all tests after the first have done."""

    def __init__(self) -> None:
        """Have counted nothing."""
        self.profile = cProfile.Profile()
        self.tests = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        """Count a test."""
        self.tests += 1
        if self.tests > COLD:
            self.profile.enable()
        result = yield
        self.profile.disable()
        return result

    def pytest_sessionfinish(self) -> None:
        """Write down what was counted, per test."""
        tests = self.tests - COLD
        stats = pstats.Stats(self.profile)
        calls = {where: figures[1] for where, figures in stats.stats.items()}  # type: ignore[attr-defined]
        writes = sum(
            number
            for (file, _, name), number in calls.items()
            if name == "write" and Path(file).name == "selector_events.py"
        )
        found = {"calls": sum(calls.values()) / tests, "writes": writes / tests}
        Path(os.environ["BENCHMARK_COUNTS"]).write_text(json.dumps(found))


def pytest_configure(config: pytest.Config) -> None:
    """Begin."""
    config.pluginmanager.register(Counter(), "counter")
