"""What `db-testing bench` does with each schema, in the project's own pytest.

The strategies take turns, each for a moment, so that what the machine does besides meets all of
them. It can only make a test slower: the first decile of a strategy's tests, less that of the tests
without isolation, is what the strategy costs. A test is measured as pytest runs it, fixtures
included.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

from .._plugin import _probe, _state
from . import strategies
from .building import connected
from .strategies import NOTHING, Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._plugin._probe import Say, Subject

BENCH: Final = f"{__name__}:bench"

TURNS: Final = 8
LEAST: Final = 3
"""Turns, if they take so long that the time is over before."""


def bench(subject: Subject, say: Say) -> Mapping[str, object]:
    """Measure for about as many seconds as the command asks for."""
    with contextlib.ExitStack() as stack:
        admin = stack.enter_context(connected(subject.settings, say))
        runner = stack.enter_context(asyncio.Runner(loop_factory=asyncio.new_event_loop))
        say({"progress": f"making databases of {subject.schema!r} ..."})
        ways, tables, row = stack.enter_context(strategies.made(subject, admin, runner))
        measured = Measured(subject, ways, float(subject.argument))
        started = time.perf_counter()
        while measured.goes_on(time.perf_counter() - started):
            measured.take_turn(say)
    return {
        "schema": repr(subject.schema),
        "tables": len(tables),
        "row": row,
        "nothing_ms": round(measured.seconds(NOTHING) * 1e3, 3),
        "strategies": [measured.figures(way.name) for way in ways[1:]],
    }


class Measured:
    """How long tests took."""

    def __init__(self, subject: Subject, ways: Sequence[Strategy], seconds: float) -> None:
        """Begin with none."""
        self.turns = 0
        self._subject = subject
        self._ways = ways
        self._budget = seconds
        self._times: dict[str, list[float]] = {way.name: [] for way in ways}
        self._failed: dict[str, str] = {}

    def goes_on(self, elapsed: float) -> bool:
        """Tell whether there is to be another turn."""
        return self.turns < LEAST or (self.turns < TURNS and elapsed < self._budget)

    def take_turn(self, say: Say) -> None:
        """Run some tests of each strategy.

        Raises:
            BenchError: one without isolation has failed.
        """
        share = self._budget / TURNS / len(self._ways)
        for way in self._ways:
            if way.name not in self._failed:
                say({"progress": f"measuring: turn {self.turns + 1} of {TURNS}, {way.name} ..."})
                alone = contextlib.nullcontext() if way.is_ours else self._alone()
                with alone:
                    times = self._run(way, share)
                # The first of a turn pays for what the strategy before has left.
                self._times[way.name] += times[1:] or times
        if NOTHING in self._failed:
            raise strategies.BenchError(self._failed[NOTHING])
        self.turns += 1

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        return strategies.without_worker(self._subject)

    def _run(self, way: Strategy, share: float) -> list[float]:
        times: list[float] = []
        test, following = way.tests
        least = 3 if way.is_quick else 1
        while len(times) < least or sum(times) < share:
            started = time.perf_counter()
            failure = _probe.run_test(test, following)
            times.append(time.perf_counter() - started)
            if failure is not None:
                self._failed[way.name] = failure
                return []
            test, following = following, test
        if way.is_ours:
            _state.settle(self._subject.item.config)  # a sweep may be under way
        return times

    def seconds(self, name: str) -> float:
        """Return what a test of a strategy takes."""
        return statistics.quantiles(self._times[name], n=10, method="inclusive")[0]

    def figures(self, name: str) -> dict[str, Any]:
        """Return what was found of a strategy."""
        if name in self._failed:
            return {"name": name, "tests": 0, "over_ms": None, "fails": self._failed[name]}
        more = self.seconds(name) - self.seconds(NOTHING)
        return {
            "name": name,
            "tests": len(self._times[name]),
            "over_ms": round(more * 1e3, 3),
            "fails": None,
        }
