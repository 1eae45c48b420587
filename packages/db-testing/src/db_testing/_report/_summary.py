"""What a report comes to, in at most ten lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ..report import counted
from . import _findings
from ._results import OUTCOMES, suites

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._results import Outcome, Report, Suite

SUITES_SHOWN: Final = 2
"""Lines that tell of one suite each."""


def summary(report: Report) -> list[str]:
    """Say it in at most ten lines."""
    tally = _tally(result.outcome for result in report.tests)
    runs = _count(len(report.runs), "run")
    lines = [f"{runs}, {counted(len(report.tests))}: {tally}", *_completeness(report)]
    if report.runs:
        last = max(report.runs, key=lambda run: run.seconds)
        lines.append(f"the longest took {last.seconds:.1f} s: {last.name}")
    isolations = Counter(each.isolation for each in report.tests if each.isolation is not None)
    seconds = sum(run.isolation_seconds for run in report.runs)
    if isolations:
        each = ", ".join(f"{number} {name}" for name, number in sorted(isolations.items()))
        lines.append(f"isolation: {each}; {seconds:.2f} s")
    lines += [*_counts(report), *_statements(report)]
    ended = [f"{run.name} ({run.exit_code})" for run in report.runs if run.exit_code not in {0, 1}]
    if ended:
        lines.append(f"did not end as a run should (exit code): {', '.join(ended)}")
    return lines


def _completeness(report: Report) -> list[str]:
    """Say of each suite how many of its tests there are results of."""
    suite_of = {run.run: run.suite for run in report.runs}
    ran: dict[Suite, set[str]] = {suite: set() for suite in suites(report)}
    for result in report.tests:
        suite = suite_of.get(result.run)
        if suite is not None:
            ran[suite].add(result.test)
    lines = []
    for suite, tests in ran.items():
        missing = suite.tests - len(tests)
        told = f"{missing} of {suite.tests} ran nowhere" if missing else f"all {suite.tests} ran"
        lines.append(f"{' '.join(suite.paths)}: {told}")
    more = [f"... and {_count(len(lines) - SUITES_SHOWN, 'suite')} more"]
    return lines[:SUITES_SHOWN] + (more if lines[SUITES_SHOWN:] else [])


def _counts(report: Report) -> list[str]:
    replaced = sum(each.tests for each in report.replaced)
    counts = [
        (len(report.moved), "moved to commit isolation"),
        (len(report.leaks), "left behind by tests"),
        (replaced, "new databases after commit isolation"),
    ]
    said = [f"{what}: {number}" for number, what in counts if number]
    return ["; ".join(said)] if said else []


def _statements(report: Report) -> list[str]:
    """Say what was sent, what of it took longest, and what was sent again and again."""
    slowest = _findings.slowest(report)
    if not slowest:
        return []
    sent = _count(sum(test.sent for test in report.tests), "statement")
    seconds = sum(test.database_seconds for test in report.tests)
    longest = f"{slowest[0].statement.slowest * 1000:.0f} ms in {slowest[0].test.test}"
    lines = [f"database: {sent}, {seconds:.2f} s; the slowest took {longest}"]
    repeated = _findings.repeated(report)
    if repeated:
        most = repeated[0]
        tests = counted(len({each.test.test for each in repeated}))
        lines.append(
            f"statements repeated by one line: in {tests}; {most.statement.times} times at "
            f"{most.statement.line} in {most.test.test}"
        )
    return lines


def _tally(outcomes: Iterable[Outcome]) -> str:
    counts = Counter(outcomes)
    return ", ".join(f"{counts[each]} {each}" for each in OUTCOMES if counts[each]) or "none"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
