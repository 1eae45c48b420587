"""What a report tells: who idled, which statements were slow, or repeated, and what was touched."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from ._results import Report, Result, Run, Statement

REPEATED: Final = 4
"""How often a line must have sent a statement in a test for it to look like one for each row."""


class Finding(NamedTuple):
    """A statement, and the test that has sent it."""

    test: Result
    statement: Statement


@dataclass
class Lane:
    """A worker, and what it ran when, in seconds since the first test of its run began."""

    run: Run
    worker: str
    origin: float
    """When that was, since 1970."""
    tests: list[Result] = field(default_factory=list)

    @property
    def begun(self) -> float:
        """When its first test began."""
        return min(test.started for test in self.tests) - self.origin

    @property
    def ended(self) -> float:
        """When its last test was over."""
        return max(test.started + test.seconds for test in self.tests) - self.origin

    @property
    def busy(self) -> float:
        """How long it ran tests."""
        return sum(test.seconds for test in self.tests)


def lanes(report: Report) -> list[Lane]:
    """Return the workers of all runs, with their tests in order."""
    runs = {run.run: run for run in report.runs}
    tests = sorted(
        (test for test in report.tests if test.started and test.run in runs),
        key=lambda test: test.started,
    )
    origins: dict[str, float] = {}
    found: dict[tuple[str, str], Lane] = {}
    for test in tests:
        origin = origins.setdefault(test.run, test.started)
        key = test.run, test.worker
        found.setdefault(key, Lane(runs[test.run], test.worker, origin)).tests.append(test)
    return [found[key] for key in sorted(found, key=lambda key: (key[0], len(key[1]), key[1]))]


def _all(report: Report) -> list[Finding]:
    return [Finding(test, sent) for test in report.tests for sent in test.statements]


def slowest(report: Report) -> list[Finding]:
    """Return what was sent, the slowest first."""
    return sorted(_all(report), key=lambda each: -each.statement.slowest)


def repeated(report: Report) -> list[Finding]:
    """Return what one line has sent again and again in one test, the most often first."""
    found = [each for each in _all(report) if each.statement.times >= REPEATED]
    return sorted(found, key=lambda each: (-each.statement.times, each.test.test))


def tables_of(report: Report, test: Result) -> list[str]:
    """Return the tables that a test's statements name."""
    named = {table for sent in test.statements for table in report.queries[sent.query].tables}
    return sorted(named)


class Touched(NamedTuple):
    """A table, and who has touched it."""

    table: str
    tests: int
    statements: int
    seconds: float


def tables(report: Report) -> list[Touched]:
    """Return the tables that statements name, those of most tests first."""
    tests: defaultdict[str, set[str]] = defaultdict(set)
    statements: defaultdict[str, int] = defaultdict(int)
    seconds: defaultdict[str, float] = defaultdict(float)
    for test, sent in _all(report):
        for table in report.queries[sent.query].tables:
            tests[table].add(test.test)
            statements[table] += sent.times
            seconds[table] += sent.seconds
    found = [Touched(name, len(tests[name]), statements[name], seconds[name]) for name in tests]
    return sorted(found, key=lambda each: (-each.tests, each.table))
