"""What each test came to under which isolation: now, and when it was last run under another.

A suite that was written for rollback isolation is checked by a run with `--db-isolation=commit`.
A test that fares differently there owes its outcome to the isolation, or the code was changed.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from ..report import counted

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CACHE: Final = "db_testing/outcomes"
SHOWN: Final = 20
"""Lines of the summary that name one test each."""

ISOLATION: Final = "db_testing_isolation"
"""The attribute of a report that says what undoes its test, if that is for the run to say."""


class Outcome(NamedTuple):
    """What a test came to."""

    word: str
    """`passed`, `failed`, `xfailed` or `skipped`."""
    day: str
    """When, as YYYY-MM-DD."""


Known: TypeAlias = dict[str, dict[str, Outcome]]
"""By test, then by isolation."""


class Outcomes:
    """The outcomes of database tests, for the process that reports them."""

    def __init__(self, config: pytest.Config) -> None:
        """Read those of earlier runs, where pytest keeps a cache."""
        self._cache: pytest.Cache | None = getattr(config, "cache", None)  # -p no:cacheprovider
        self._root: Path = config.rootpath
        stored: dict[str, Any] = self._cache.get(CACHE, {}) if self._cache is not None else {}
        self._before: Known = {
            test: {isolation: Outcome(*outcome) for isolation, outcome in outcomes.items()}
            for test, outcomes in stored.items()
        }
        self._now: dict[str, tuple[str, Outcome]] = {}
        """Each test under the one isolation in which it was reported."""
        self._day = dt.datetime.now(tz=dt.UTC).date().isoformat()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of one of a test's phases."""
        isolation = getattr(report, ISOLATION, None)
        if isolation is None or (report.passed and report.when != "call"):
            return
        _, earlier = self._now.get(report.nodeid, (None, None))
        if earlier is None or earlier.word != "failed":
            expected = report.skipped and hasattr(report, "wasxfail")
            word = "xfailed" if expected else report.outcome
            self._now[report.nodeid] = isolation, Outcome(word, self._day)

    def write(self) -> None:
        """Remember the outcomes, without tests whose file is gone."""
        after = {
            test: outcomes
            for test, outcomes in self._before.items()
            if (self._root / test.partition("::")[0]).exists()
        }
        for test, (isolation, outcome) in self._now.items():
            after[test] = after.get(test, {}) | {isolation: outcome}
        if self._cache is not None and after != self._before:
            self._cache.set(CACHE, after)

    def lines(self, usual: str | None = None) -> list[str]:
        """Say which tests fare differently than under another isolation.

        `usual` is that of tests which are isolated as in an ordinary run, and need no other.
        """
        if not self._now:
            return []
        said: list[str] = []
        compared = differing = alone = 0
        for test, (isolation, now) in sorted(self._now.items()):
            others = self._before.get(test, {}).keys() - {isolation}
            compared += bool(others)
            alone += not others and isolation != usual
            lines = [
                f"{test}: {now.word} under {isolation}, {then.word} under {name} on {then.day}"
                for name in sorted(others)
                if (then := self._before[test][name]).word != now.word
            ]
            differing += bool(lines)
            said += lines
        head = []
        if compared:
            head.append(
                f"db-testing: {differing} of {counted(compared, 'database ')} fared "
                f"differently than under another isolation"
            )
        if alone:
            why = "no run under another isolation is known: run once without --db-isolation"
            if self._cache is None:
                why = "pytest's cache, which keeps outcomes, is turned off (-p no:cacheprovider)"
            head.append(
                f"db-testing: {counted(alone, 'database ')} cannot be compared, because {why}"
            )
        more = [f"... and {len(said) - SHOWN} more"] if said[SHOWN:] else []
        return [*head, *said[:SHOWN], *more]
