"""What a run came to, as a file that other machines' can be merged with.

A suite that is split over machines leaves a file on each. One file may hold several runs, so merged
files can be merged again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from ..errors import ReportError
from ..report import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

VERSION: Final = 2
"""Raised when a reader of older files would not understand what is written."""

Outcome: TypeAlias = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

Named: TypeAlias = "tuple[str, Report]"
"""A report, and the name of its file."""


@dataclass(frozen=True, slots=True)
class Suite:
    """All tests that some paths hold, before any of them was left out."""

    paths: tuple[str, ...]
    """As seen from pytest's root directory, so that all clones have the same."""
    tests: int
    digest: str
    """Of the names of the tests."""

    @classmethod
    def of(cls, paths: Iterable[str], tests: Iterable[str]) -> Suite:
        """Identify the tests of some paths."""
        names = sorted(tests)
        # A folder's name may be in no encoding.
        text = "\n".join(names).encode(errors="backslashreplace")
        digest = hashlib.sha256(text).hexdigest()[:16]
        return cls(tuple(sorted(paths)), len(names), digest)


@dataclass(frozen=True, slots=True)
class Run:
    """One call of pytest, on one machine, with all of its xdist workers."""

    run: str
    """What the names of its databases contain, if it had workers; the same in no other run."""
    shard: str | None
    """As in `2/4`, where pytest-split has chosen the tests."""
    machine: str
    server: str
    """Without a password."""
    suite: Suite | None
    """None when no process lived to tell what there was to run."""
    exit_code: int
    """Of pytest."""
    seconds: float
    database_tests: int
    isolation_seconds: float
    """How long isolating these tests took, added over workers."""

    @property
    def name(self) -> str:
        """Say which run it was."""
        return f"{self.shard or self.run} on {self.machine}"


@dataclass(frozen=True, slots=True)
class Query:
    """A statement, whoever has sent it."""

    sql: str
    """Its beginning, if it is very long."""
    tables: tuple[str, ...] = ()
    """Those that it names, in the order of the alphabet."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one line of the program has sent in one test, as often as it has."""

    query: str
    """Its key in the report's queries."""
    line: str
    """As `file:line`."""
    times: int
    seconds: float
    """Of all times together."""
    slowest: float
    """Seconds of one time."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one test came to."""

    test: str
    run: str
    worker: str
    """The xdist worker, or `main`."""
    outcome: Outcome
    isolation: str | None
    """What has undone it; None if it used no database."""
    seconds: float
    setup_seconds: float
    """How much of it was the set-up of its fixtures."""
    teardown_seconds: float = 0
    """How much of it was their end, which undoes the test."""
    isolation_seconds: float = 0
    """How much of both was undoing the test, or making a database for it."""
    started: float = 0
    """Seconds since 1970, by the clock of its machine."""
    statements: tuple[Statement, ...] = ()
    """What it has sent to the database: fixtures of wider scope have not."""

    @property
    def call_seconds(self) -> float:
        """How long the test's own function took."""
        return self.seconds - self.setup_seconds - self.teardown_seconds

    @property
    def database_seconds(self) -> float:
        """How long its statements took; longer than the test if they ran side by side."""
        return sum(each.seconds for each in self.statements)

    @property
    def sent(self) -> int:
        """How many statements it has sent."""
        return sum(each.times for each in self.statements)


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be said of one test: why it was moved, or what it has left behind."""

    test: str
    text: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """Why tests under commit isolation took new databases."""

    reason: str
    tests: int


@dataclass(frozen=True, slots=True)
class Report:
    """One or more runs."""

    runs: tuple[Run, ...]
    tests: tuple[Result, ...]
    moved: tuple[Remark, ...] = ()
    """Tests that ran under commit isolation because rollback isolation could not serve them."""
    leaks: tuple[Remark, ...] = ()
    replaced: tuple[Replaced, ...] = ()
    queries: dict[str, Query] = field(default_factory=dict)
    """By what :class:`Statement` calls them."""

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        content = {"version": VERSION, **dataclasses.asdict(self)}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Report:
    """Read what :meth:`Report.write` has written.

    Raises:
        ReportError: it cannot be read, or another version of db-testing has written it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("version")
        if version != VERSION:
            raise ReportError(
                f"{path} is a report of format {version!r}, and this db-testing reads {VERSION}. "
                f"Use one version of db-testing for all shards, and for merging them."
            )
        return _report(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ReportError(
            f"{path} is no report of db-testing ({reason}). --db-report writes one."
        ) from error


def _report(
    *,
    runs: Sequence[Mapping[str, Any]],
    tests: Sequence[Mapping[str, Any]],
    moved: Sequence[Mapping[str, Any]],
    leaks: Sequence[Mapping[str, Any]],
    replaced: Sequence[Mapping[str, Any]],
    queries: Mapping[str, Mapping[str, Any]],
) -> Report:
    return Report(
        runs=tuple(Run(**{**each, "suite": _suite(each["suite"])}) for each in runs),
        tests=tuple(
            Result(
                **{**each, "statements": tuple(Statement(**sent) for sent in each["statements"])}
            )
            for each in tests
        ),
        moved=tuple(Remark(**each) for each in moved),
        leaks=tuple(Remark(**each) for each in leaks),
        replaced=tuple(Replaced(**each) for each in replaced),
        queries={
            key: Query(**{**each, "tables": tuple(each["tables"])}) for key, each in queries.items()
        },
    )


def _suite(content: Mapping[str, Any] | None) -> Suite | None:
    return None if content is None else Suite(**{**content, "paths": tuple(content["paths"])})


def merge(reports: Sequence[Named]) -> Report:
    """Make one report of several.

    Raises:
        ReportError: two of them hold the same run or test, or are of different suites.
    """
    for (one, first), (other, second) in itertools.combinations(reports, 2):
        _check_runs(one, first, other, second)
        _check_suites(one, first, other, second)
    _check_tests(reports)
    contents = [report for _, report in reports]
    replaced: Counter[str] = Counter()
    for each in itertools.chain.from_iterable(report.replaced for report in contents):
        replaced[each.reason] += each.tests
    return Report(
        runs=tuple(run for report in contents for run in report.runs),
        tests=tuple(
            sorted(
                (test for report in contents for test in report.tests),
                key=lambda result: (result.test, result.run, result.worker),
            )
        ),
        moved=_remarks(report.moved for report in contents),
        leaks=_remarks(report.leaks for report in contents),
        replaced=tuple(Replaced(reason, tests) for reason, tests in sorted(replaced.items())),
        queries={key: query for report in contents for key, query in report.queries.items()},
    )


def _remarks(several: Iterable[Iterable[Remark]]) -> tuple[Remark, ...]:
    return tuple(sorted(itertools.chain.from_iterable(several), key=lambda each: each.test))


def _check_runs(one: str, first: Report, other: str, second: Report) -> None:
    same = {run.run for run in first.runs} & {run.run for run in second.runs}
    if same:
        raise ReportError(
            f"{one} and {other} both hold the run {min(same)}. Merge each report once."
        )


def _check_suites(one: str, first: Report, other: str, second: Report) -> None:
    for suite in suites(first):
        for against in suites(second):
            if suite.paths == against.paths and suite.digest != against.digest:
                raise ReportError(
                    f"{one} and {other} are of different suites: of {' '.join(suite.paths)} the "
                    f"first knows {counted(suite.tests)}, the second {counted(against.tests)}, "
                    f"with other names. Are both of one commit, of all its files?"
                )


def _check_tests(reports: Sequence[Named]) -> None:
    found: dict[str, str] = {}
    for name, report in reports:
        for test in {result.test for result in report.tests}:
            if test in found:
                raise ReportError(
                    f"{test} ran in both {found[test]} and {name}. If tests are shuffled before "
                    f"they are split, as by pytest-randomly, give all shards one --randomly-seed."
                )
            found[test] = name


def suites(report: Report) -> list[Suite]:
    """Return the suites that the runs are of."""
    return list(dict.fromkeys(run.suite for run in report.runs if run.suite is not None))
