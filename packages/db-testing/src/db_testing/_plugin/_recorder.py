"""What becomes of each test, noted in the process that reports it, and written at the end."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict

import pytest

from .._report import _page, _summary, _tables
from .._report._results import Remark, Replaced, Report, Result, Run, Statement, Suite
from .._server import _server
from .._template import _naming
from ..errors import ReportError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .._report._results import Outcome
    from .._settings import Settings
    from ..report import Summary

COLLECTED: Final = "db_testing_collected"
"""Where a worker of xdist's says which tests there are."""

Collected: TypeAlias = tuple[int, str]
"""How many tests there are, and what identifies them."""

MEASURED: Final = "db_testing_measured"
"""The attribute of the report of a test's end that says what the test has done."""


SHOWING: Final = (
    *("help", "version", "markers", "showfixtures", "show_fixtures_per_test"),
    *("cacheshow", "collectonly"),
)
"""Options of pytest that show something in the place of running tests."""


class Measured(TypedDict):
    """What a test has done, as it is sent from a worker of xdist's."""

    isolation: float
    """Seconds that its isolation took."""
    sent: list[tuple[str, str, int, float, float]]
    """SQL, line, times, and seconds of all times and of the slowest."""


UNDONE_BY: Final = "db_testing_undone_by"
"""The attribute of a report that says what undoes its test."""


@dataclass
class Phases:
    """One test, in one worker."""

    outcome: Outcome = "passed"
    isolation: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase."""
    started: float = 0
    measured: Measured = field(default_factory=lambda: Measured(isolation=0, sent=[]))

    def add(self, report: pytest.TestReport) -> None:
        """Take what one of its phases has come to. The first failure stays."""
        self.isolation = getattr(report, UNDONE_BY, self.isolation)
        self.measured = getattr(report, MEASURED, self.measured)
        self.started = self.started or report.start
        if report.when is not None:
            self.seconds[report.when] = report.duration  # a subtest's is part of its test's
        came_to = outcome_of(report)
        if self.outcome not in {"failed", "error"} and came_to != "passed":
            self.outcome = came_to


def outcome_of(report: pytest.TestReport) -> Outcome:
    """Name the outcome of a phase as pytest's own summary does."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed:
        return "error" if report.when in {"setup", "teardown"} else "failed"
    return "skipped" if report.skipped else "passed"


class Witness:
    """Which tests there are: a worker of xdist's knows it, the process that reports does not."""

    def __init__(self, output: dict[str, Any]) -> None:
        self._output = output

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Learn it, before others leave some of them out."""
        self._output[COLLECTED] = _identify(items)


class Recorder:
    """The results of a run, for the process that reports them."""

    def __init__(self, config: pytest.Config, path: Path, settings: Settings) -> None:
        """Note nothing yet. A report of an earlier run is no report of this one.

        Raises:
            pytest.UsageError: no file can be written there, or what writes it is not installed.
        """
        try:
            _page.check_installed()
        except ReportError as error:
            raise pytest.UsageError(f"db-testing: --db-report={path}: {error}") from error
        self._config = config
        self._path = path
        self.lines: list[str] = []
        """What is to be said of it at the end of the run."""
        self._server = settings.server
        self._run = settings.run
        self._tests: dict[tuple[str, str], Phases] = {}
        """By name and worker."""
        self._collected: Collected | None = None
        self._begun = time.perf_counter()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A link stays, and so does a device such as /dev/stdout. A folder is refused.
            if not path.is_symlink() and (path.is_file() or path.is_dir()):
                path.unlink()
        except OSError as error:
            message = f"db-testing: --db-report={path} cannot be written: {error}"
            raise pytest.UsageError(message) from error

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Learn the identity of a run that xdist has given it."""
        self._run = node.workerinput["testrunuid"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Learn which tests there are, before others leave some of them out."""
        self._collected = _identify(items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Learn it from the first worker of xdist's that ends: all say the same."""
        found = getattr(node, "workeroutput", {}).get(COLLECTED)
        self._collected = self._collected or found

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a phase of a test has come to."""
        test = report.nodeid, _worker(report)
        if report.when == "setup":
            self._tests[test] = Phases()  # an attempt before this one does not count
        self._tests.setdefault(test, Phases()).add(report)

    def report(
        self, exit_code: int, *, summary: Summary, moved: Mapping[str, tuple[str, str]]
    ) -> Report:
        """Say what the run came to."""
        try:
            server = _server.describe(self._server)
        except SetupError as error:
            server = f"none ({error})"
        run = Run(
            run=_naming.short_run(self._run),
            shard=_shard(self._config),
            machine=platform.node(),
            server=server,
            suite=self._suite,
            exit_code=exit_code,
            seconds=round(time.perf_counter() - self._begun, 3),
            database_tests=summary.tests,
            isolation_seconds=round(summary.seconds, 4),
        )
        return Report(
            runs=(run,),
            tests=tuple(self._results(run.run)),
            moved=tuple(Remark(test, reason) for test, (reason, _) in sorted(moved.items())),
            leaks=tuple(Remark(test, what) for test, what in summary.leaks),
            replaced=tuple(Replaced(*each) for each in sorted(summary.replaced.items())),
            queries=_tables.queries(
                sql for phases in self._tests.values() for sql, *_ in phases.measured["sent"]
            ),
        )

    def write(self, report: Report) -> bool:
        """Write it where the user has asked for it, and tell whether that could be done."""
        self.lines = _summary.summary(report)
        try:
            _page.write(report, self._path)
        except (OSError, ReportError) as error:
            # What the tests came to is not lost with it.
            self.lines.append(f"the report could not be written: {error}")
            return False
        return True

    @property
    def _suite(self) -> Suite | None:
        if self._collected is None:
            return None
        return Suite(_paths(self._config), *self._collected)

    def _results(self, run: str) -> Iterable[Result]:
        for (test, worker), phases in sorted(self._tests.items()):
            yield Result(
                test=test,
                run=run,
                worker=worker,
                outcome=phases.outcome,
                isolation=phases.isolation,
                seconds=round(sum(phases.seconds.values()), 4),
                setup_seconds=round(phases.seconds.get("setup", 0), 4),
                teardown_seconds=round(phases.seconds.get("teardown", 0), 4),
                isolation_seconds=round(phases.measured["isolation"], 4),
                started=round(phases.started, 3),
                statements=tuple(
                    Statement(_tables.key(sql), line, times, round(seconds, 5), round(slowest, 5))
                    for sql, line, times, seconds, slowest in phases.measured["sent"]
                ),
            )


def _worker(report: pytest.TestReport) -> str:
    node: Any = getattr(report, "node", None)  # xdist's
    return "main" if node is None else str(node.workerinput["workerid"])


def _identify(items: Iterable[pytest.Item]) -> Collected:
    suite = Suite.of((), (item.nodeid for item in items))
    return suite.tests, suite.digest


def _shard(config: pytest.Config) -> str | None:
    """Name the part of the suite that pytest-split has been asked for."""
    group, splits = config.getoption("group", None), config.getoption("splits", None)
    return f"{group}/{splits}" if group and splits else None


def _paths(config: pytest.Config) -> tuple[str, ...]:
    """Return what is tested, as it can be compared between clones."""

    def relative(argument: Any) -> str:
        path, *rest = str(argument).split("::")
        place = config.invocation_params.dir / path
        if place.exists() and place.is_relative_to(config.rootpath):
            path = place.relative_to(config.rootpath).as_posix()
        return "::".join([path, *rest])

    return tuple(sorted(relative(argument) for argument in config.args))


RECORDER: pytest.StashKey[Recorder] = pytest.StashKey()


def register(config: pytest.Config, settings: Settings) -> None:
    """Let a run that is to be reported be recorded.

    Raises:
        pytest.UsageError: as :class:`Recorder`.
    """
    if settings.report is None or any(config.getoption(name, None) for name in SHOWING):
        return
    if hasattr(config, "workeroutput"):
        config.pluginmanager.register(Witness(config.workeroutput), "db_testing_witness")
    else:
        config.stash[RECORDER] = Recorder(config, settings.report, settings)
        config.pluginmanager.register(config.stash[RECORDER], "db_testing_recorder")


def write(
    config: pytest.Config,
    exit_code: int,
    *,
    summary: Summary,
    moved: Mapping[str, tuple[str, str]],
) -> bool:
    """Write what the run came to, if that was asked for; tell whether all is done."""
    recorder = config.stash.get(RECORDER, None)
    if recorder is None:
        return True
    return recorder.write(recorder.report(int(exit_code), summary=summary, moved=moved))


def lines(config: pytest.Config) -> list[str]:
    """Say what the report comes to, if one was written."""
    recorder = config.stash.get(RECORDER, None)
    return recorder.lines if recorder is not None else []
