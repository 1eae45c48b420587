"""A test that runs: what undoes it, its beginning and its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

from .. import _settings
from . import _ladder, _outcomes, _recorder, _state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..errors import SandboxError
    from ._anyio import HeldLoop
    from ._state import Run
    from ._worker import Application


@dataclass(eq=False, slots=True)
class Attempt:
    """A test that has begun; begun again, another."""

    test: pytest.Item
    isolation: _settings.IsolationName
    """What undoes it."""
    may_move: bool
    """Whether it is run again in another isolation, should it need one."""
    failed: bool = False
    failed_at_end: bool = False
    """Whether the end of a fixture has failed, of which pytest tells when the test is undone."""
    held: HeldLoop | None = None
    """The loop of anyio's plugin that is held for it."""
    kept: list[str] = field(default_factory=list)
    """If it has failed, what has become of its databases."""


ATTEMPT: Final[pytest.StashKey[Attempt]] = pytest.StashKey()
MARKER: Final[pytest.StashKey[tuple[int, pytest.Mark | None]]] = pytest.StashKey()
"""A test's marker, and how many markers of its own it had when it was looked for."""


def run(test: pytest.Item, following: pytest.Item | None) -> bool:
    """Run a test that may have to be run again; tell whether it was such a test."""
    if _asked(test) != "auto" or _begins_above(test):
        return False
    run = test.config.stash[_state.RUN]

    def troubles() -> list[SandboxError]:
        # Before it begins and after it has ended they are those of another.
        return run.worker.troubles if run.worker is not None and is_running(test) else []

    run.ladder.run(test, following, troubles)
    return True


def _begins_above(test: pytest.Item) -> bool:
    run = test.config.stash[_state.RUN]
    unfit = run.worker.identity_dependent if run.worker is not None else ()
    return run.ladder.begins_above(test, unfit)


def is_running(test: pytest.Item) -> bool:
    """Tell whether a test has begun and has not ended."""
    attempt = test.config.stash[_state.RUN].attempt
    return attempt is not None and attempt.test is test


def follow(config: pytest.Config, following: pytest.Item | None) -> None:
    """Learn which test will run after the one that begins."""
    config.stash[_state.RUN].following = following


def begin(test: pytest.Item) -> bool:
    """Let the statements that follow belong to the test; tell whether others did until now.

    Raises:
        pytest.UsageError: its marker's arguments are wrong.
    """
    run = test.config.stash[_state.RUN]
    if run.attempt is not None and run.attempt.test is test:
        return False
    choice = _choice(test)
    kind = ("commit" if _begins_above(test) else "rollback") if choice == "auto" else choice
    run.tasks.begin()
    if run.worker is not None:
        run.worker.begin(test.nodeid, kind)
        _make_databases_of_tests(test, kind, run.following)
    # One that could not begin has not begun: it may be run again.
    run.attempt = test.stash[ATTEMPT] = Attempt(test, kind, may_move=choice == "auto")
    return True


def _make_databases_of_tests(
    test: pytest.Item, kind: _settings.IsolationName, following: pytest.Item | None
) -> None:
    """Make what this test is to have of its own, if a connection of ours cannot, and the next."""
    if kind == "database" and (_marker(test) is not None or "test_database_url" in _names(test)):
        own = _application_of(test)
        if own is not None:
            own.isolation.part()
    if following is not None and _is_private(following):
        expected = _application_of(following)
        if expected is not None:
            expected.isolation.expect()


def _is_private(test: pytest.Item) -> bool:
    """Tell whether a test that has not begun is to have a database of its own."""
    return _asked(test) == "database"


def _application_of(test: pytest.Item) -> Application | None:
    """Return the database to which a test's fixtures lead, if it has been made."""
    fixtures = getattr(test, "_fixtureinfo", None)
    definitions = fixtures.name2fixturedefs.get("_db_application") if fixtures else None
    result = definitions[-1].cached_result if definitions else None
    return result[0] if result is not None else None


def _names(test: pytest.Item) -> Sequence[str]:
    return getattr(test, "fixturenames", ())


def end(test: pytest.Item, *, shares_loop: bool) -> None:
    """Undo the test; fail it for what rollback isolation could not do, unless it has failed.

    `shares_loop` says whether what it has left on an event loop would run on beside the next test,
    whether or not it has used the database.
    """
    run = test.config.stash[_state.RUN]
    attempt, run.attempt = run.attempt, None
    worker = run.worker
    if attempt is None:
        return
    if worker is None:
        if shares_loop and (leaks := _note_leaks(run, test, _end_tasks(run, asked=True))):
            _fail_for(leaks, run, test, failed=attempt.failed)
        return
    names, failed = _names(test), attempt.failed
    leaks = run.bindings.end_sessions() if run.bindings is not None else []
    leaks += _end_tasks(run, asked=shares_loop)
    may_move = attempt.may_move and attempt.isolation == "rollback"
    remarks = worker.remarks() if may_move and failed else []
    connects = "test_database_url" in names
    moves = may_move and _ladder.unfit(worker.troubles, remarks, failed=failed) is not None
    keep = run.settings.keep_failed and (failed or attempt.failed_at_end)
    if may_move and keep and not moves:
        # In a database that is kept it could not be told from what the sandbox has done.
        moves = worker.has_escaped(connects=connects)
    failures = worker.end(
        connects=connects,
        keep=keep and not moves,  # whether it fails shows when it runs again
        waits=_waits(run, test, failed=failed or keep),
    )
    kept = worker.take_kept()
    run.summary.kept += kept
    attempt.kept = [text for _, text in kept]
    leaks += worker.take_leaks()
    if may_move:
        met = [*failures, *worker.troubles]
        reason = _ladder.unfit(met, remarks, failed=failed)
        if reason is not None:
            test.stash[_ladder.REASON] = reason
            for error in met:
                error.__traceback__ = None  # its frames hold what the test had not ended yet
            return
    leaks = _note_leaks(run, test, leaks)
    if failures and not failed:
        pytest.fail(str(failures[0]), pytrace=False)
    _fail_for(leaks, run, test, failed=failed)


def _note_leaks(run: Run, test: pytest.Item, leaks: list[str]) -> list[str]:
    """Keep for the summary what a test has left, and return it as it is shown."""
    shown = [_state.shown(test.config, leak) for leak in leaks]
    run.summary.leaks += [(test.nodeid, leak) for leak in shown]
    return shown


def _fail_for(leaks: list[str], run: Run, test: pytest.Item, *, failed: bool) -> None:
    """Fail a test for what it has left, if that is wished and it has not failed."""
    if leaks and not failed and run.settings.leaks == "error":
        lines = [f"db-testing: {test.nodeid} left behind", *leaks]
        pytest.fail("\n  ".join(lines), pytrace=False)


def _end_tasks(run: Run, *, asked: bool) -> list[str]:
    """End what the running test has left on its loops, and say what it was."""
    leaks, run.leaks = run.leaks, []
    worker = run.worker
    loops = worker.loops if worker is not None else []
    if loops or asked:
        leaks += run.tasks.end(lambda: worker.users if worker is not None else ())
    for loop in loops:
        if not loop.is_closed():
            run.tasks.share(loop)
    return leaks


def _waits(run: Run, test: pytest.Item, *, failed: bool) -> bool:
    """Tell whether something of this test's, or of wider fixtures, comes before the next test."""
    session = test.session
    return (
        failed
        or run.following is None
        or run.following.parent is not test.parent
        or bool(session.shouldfail or session.shouldstop)
        or run.settings.leaks == "error"
    )


def failed(test: pytest.Item) -> None:
    """Note a failure, so that it is not reported a second time when the test is undone."""
    attempt = test.stash.get(ATTEMPT, None)
    if attempt is not None:
        attempt.failed = True


def kept(test: pytest.Item) -> list[str]:
    """Say what has become of the databases of a test that has failed."""
    attempt = test.stash.get(ATTEMPT, None)
    return attempt.kept if attempt is not None else []


def remark(test: pytest.Item, report: pytest.TestReport) -> None:
    """Add to a failure what it may owe to the isolation of the test."""
    worker = test.config.stash[_state.RUN].worker
    if worker is None:
        return
    remarks = worker.remarks()
    attempt = test.stash.get(ATTEMPT, None)
    if attempt is not None and attempt.isolation == "rollback":
        # The application may have made an answer of it, which tells the test nothing.
        met = dict.fromkeys(map(str, worker.troubles))
        remarks += [f"before, it met: {error}" for error in met if error not in report.longreprtext]
    report.sections += [("db-testing", remark) for remark in remarks]


def tell_isolation(test: pytest.Item, report: pytest.TestReport) -> None:
    """Say in a database test's report what undoes it, and whether its marker always says so."""
    attempt = test.stash.get(ATTEMPT, None)
    isolation = attempt.isolation if attempt is not None else None
    setattr(report, _recorder.UNDONE_BY, isolation)
    if isolation is not None and _marker(test) is None:
        setattr(report, _outcomes.ISOLATION, isolation)


def _choice(test: pytest.Item) -> _settings.Choice:
    marker = _marker(test)
    if marker is None:
        return _state.settings(test.config).isolation
    chosen = marker.kwargs.get("isolation")
    if marker.args or marker.kwargs.keys() != {"isolation"} or chosen not in _settings.CHOICES:
        raise pytest.UsageError(
            f"{test.nodeid}: the marker db takes isolation= and one of {_settings.CHOICES}, "
            f'as in @pytest.mark.db(isolation="commit"); it has {marker.args} {marker.kwargs}.'
        )
    return chosen  # type: ignore[no-any-return]  # one of the names


def _asked(test: pytest.Item) -> object:
    """Return what a test's marker, which may be wrong, or the run asks for."""
    marker = _marker(test)
    return (
        _state.settings(test.config).isolation if marker is None else marker.kwargs.get("isolation")
    )


def _marker(test: pytest.Item) -> pytest.Mark | None:
    """Return a test's marker; pytest walks through all of its folders for it, each time."""
    count, marker = test.stash.get(MARKER, (-1, None))
    if count != len(test.own_markers):  # a fixture or a hook may have added some
        marker = test.get_closest_marker("db")
        of_function = getattr(getattr(test, "function", None), "pytestmark", ())
        if any(marker is each for each in of_function):
            # To pytest those of `pytest.param(..., marks=...)` are behind those of the function.
            of_parameters = getattr(getattr(test, "callspec", None), "marks", ())
            marker = next((each for each in of_parameters if each.name == "db"), marker)
        test.stash[MARKER] = len(test.own_markers), marker
    return marker
