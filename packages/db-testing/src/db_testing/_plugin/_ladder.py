"""The isolation `auto`: rollback first, and commit for tests that it cannot serve.

What a test needs shows when it runs: the sandbox refuses a statement, two transactions wait for
each other, a connection of another's commits. Then the test is torn down, undone, and run again
under commit isolation, which refuses nothing; only that attempt is reported. It is remembered with
the test's source, so that next time the test begins there.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import hashlib
import inspect
import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import pytest
from _pytest.outcomes import OutcomeException
from _pytest.runner import runtestprotocol

from ..errors import (
    SandboxBlockedError,
    SandboxConflictError,
    SandboxDeadlockError,
    SandboxEscapeError,
    SandboxLoopError,
    SandboxRefusedError,
)
from ..report import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pluggy

    from ..errors import SandboxError

    Troubles: TypeAlias = Callable[[], Iterable[SandboxError]]

CACHE: Final = "db_testing/moved"

CURED: Final = (
    SandboxRefusedError,
    SandboxDeadlockError,
    SandboxConflictError,
    SandboxLoopError,
    SandboxBlockedError,
    SandboxEscapeError,
)
"""What rollback isolation cannot do and commit isolation can."""

Moved: TypeAlias = dict[str, tuple[str, str]]
"""By test: why it runs under commit isolation, and the digest of its source."""

REASON: pytest.StashKey[str] = pytest.StashKey()
"""Why the attempt that has just ended was not fit for rollback isolation."""

DISCARDED: pytest.StashKey[bool] = pytest.StashKey()
"""Whether the attempt that goes on has failed, and will not be reported."""


@dataclass
class Ladder:
    """What is known of the tests that cannot be rolled back."""

    remembered: Moved = field(default_factory=dict)
    """Of earlier runs."""
    moved: Moved = field(default_factory=dict)
    """Of this run, those remembered too."""
    stayed: set[str] = field(default_factory=set)
    """Those that rollback isolation has served."""

    @classmethod
    def read(cls, config: pytest.Config) -> Ladder:
        """Read what earlier runs have found out, where pytest keeps a cache."""
        cache = getattr(config, "cache", None)  # -p no:cacheprovider
        stored: Mapping[str, Any] = (cache.get(CACHE, None) or {}) if cache is not None else {}
        return cls({test: (reason, digest) for test, (reason, digest) in stored.items()})

    def write(self, config: pytest.Config) -> None:
        """Remember it, without tests whose file is gone."""
        kept = self.remembered | self.moved
        kept = {
            test: found
            for test, found in kept.items()
            if test not in self.stayed and (config.rootpath / test.partition("::")[0]).exists()
        }
        cache = getattr(config, "cache", None)
        if cache is not None and kept != self.remembered:
            cache.set(CACHE, kept)

    @property
    def found(self) -> tuple[Moved, list[str]]:
        """What a process of xdist's hands on."""
        return self.moved, sorted(self.stayed)

    def learn(self, found: tuple[Mapping[str, Any], Iterable[str]]) -> None:
        """Add what another process has found."""
        moved, stayed = found
        self.moved |= {test: (reason, digest) for test, (reason, digest) in moved.items()}
        self.stayed |= set(stayed)

    def begins_above(self, test: pytest.Item, unfit: Iterable[str]) -> bool:
        """Tell whether a test is known to need commit isolation before it runs.

        `unfit` are the objects of its schema that mention transaction identity.
        """
        nodeid = test.nodeid
        if nodeid in self.moved:
            return True
        reason, digest = self.remembered.get(nodeid, ("", ""))
        objects = ", ".join(unfit)
        if objects:
            reason = f"the schema depends on transaction identity ({objects})"
        elif not reason or digest != _digest(test):
            return False
        self.moved[nodeid] = reason, _digest(test)
        return True

    def run(self, test: pytest.Item, following: pytest.Item | None, troubles: Troubles) -> None:
        """Run a test and report it, or let pytest-rerunfailures do so if it is to rerun it.

        `troubles` tells what the sandbox could not do for the test so far.
        """
        attempt = functools.partial(self._attempt, troubles=troubles)
        rerunning = test.config.pluginmanager.getplugin("rerunfailures")
        if rerunning is not None:
            # It reruns what its `runtestprotocol` returns a failure of.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(rerunning, "runtestprotocol", attempt)
                if rerunning.pytest_runtest_protocol(test, nextitem=following):
                    return
        hooks = test.ihook
        hooks.pytest_runtest_logstart(nodeid=test.nodeid, location=test.location)
        for report in attempt(test, nextitem=following):
            hooks.pytest_runtest_logreport(report=report)
        hooks.pytest_runtest_logfinish(nodeid=test.nodeid, location=test.location)

    def _attempt(
        self,
        test: pytest.Item,
        *,
        nextitem: pytest.Item | None,
        troubles: Troubles,
        log: bool = False,
    ) -> list[pytest.TestReport]:
        """Run a test, and once more if the first time was not fit for rollback isolation."""
        del log  # nothing is reported yet
        properties, output = test.user_properties, test._report_sections  # noqa: SLF001
        before = len(properties), len(output)
        with _held_back(test, troubles) as held:
            reports = runtestprotocol(test, log=False, nextitem=nextitem)
        reason = test.stash.get(REASON, None)
        if reason is None:
            for report in held:
                test.ihook.pytest_runtest_logreport(report=report)
            if test.nodeid not in self.moved:
                self.stayed.add(test.nodeid)
            return reports
        del test.stash[REASON]
        self.moved[test.nodeid] = reason, _digest(test)
        self.stayed.discard(test.nodeid)
        del properties[before[0] :], output[before[1] :]
        _forget_subtests(test)
        _let_go()
        return runtestprotocol(test, log=False, nextitem=nextitem)

    def lines(self, *, explain: bool) -> list[str]:
        """Say which tests were moved."""
        if not self.moved:
            return []
        new = len(self.moved.keys() - self.remembered.keys())
        said = (
            f"db-testing: under commit isolation, because rollback isolation could not serve "
            f"them: {counted(len(self.moved))} ({new} found out in this run)"
        )
        if not explain:
            return [f"{said}; --db-explain says why"]
        return [said, *(f"{test}: {reason}" for test, (reason, _) in sorted(self.moved.items()))]


class _Held:
    """The hooks of a first attempt, which nobody is to hear of unless it is reported.

    Its subtests are not reported yet. Of a failure that is not going to be, conftests and other
    plugins are not told: they may let the tests that follow it fail, or enter a debugger.
    """

    def __init__(
        self,
        hooks: pluggy.HookRelay,
        held: list[pytest.TestReport],
        test: pytest.Item,
        troubles: Troubles,
    ) -> None:
        self._hooks = hooks
        self._held = held
        self._test = test
        self._troubles = troubles

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hooks, name)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._held.append(copy.copy(report))  # as it is: pytest-retry changes it afterwards

    def pytest_runtest_makereport(self, *, item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
        make = self._hooks.pytest_runtest_makereport
        if self._is_discarded(call):
            # What the hooks of the test's folder leave out already is not to come back.
            own = {id(each.plugin) for each in make.get_hookimpls() if _is_own(each)}
            every = item.config.hook.pytest_runtest_makereport.get_hookimpls()
            others = [each.plugin for each in every if id(each.plugin) not in own]
            make = item.config.pluginmanager.subset_hook_caller(make.name, others)
        return make(item=item, call=call)

    def pytest_exception_interact(self, *, call: pytest.CallInfo[Any], **arguments: Any) -> None:
        if not self._is_discarded(call):
            self._hooks.pytest_exception_interact(call=call, **arguments)

    def _is_discarded(self, call: pytest.CallInfo[Any]) -> bool:
        """Tell whether a phase is of an attempt that is going to be made again."""
        stash = self._test.stash
        # What the test has raised does not say: the application may have answered with an error of
        # its own. And whoever has not been told of one phase may not understand the next.
        if call.excinfo is not None and (
            REASON in stash or any(isinstance(error, CURED) for error in self._troubles())
        ):
            stash[DISCARDED] = True
        return stash.get(DISCARDED, False)


def _is_own(hook: pluggy.HookImpl) -> bool:
    """Tell whether a hook is pytest's or ours, as those that make a report what it is."""
    return hook.function.__module__.partition(".")[0] in {"_pytest", "db_testing"}


class _Collectors(NamedTuple):
    """Stands for a test that comes next, and needs all that a test is collected by."""

    test: pytest.Item

    def listchain(self) -> list[Any]:
        return self.test.listchain()[:-1]


@contextlib.contextmanager
def _held_back(test: pytest.Item, troubles: Troubles) -> Iterator[list[pytest.TestReport]]:
    """Collect the reports of subtests, which pytest makes while their test runs.

    And let fixtures of wider scope live until it is known that the test does not run again.
    """
    held: list[pytest.TestReport] = []
    test.stash[DISCARDED] = False
    hooks_of = test.session.gethookproxy
    setups: Any = test.session._setupstate  # noqa: SLF001  # there is no hook between the two
    tear_down = setups.teardown_exact

    def tear_down_what_is_over(nextitem: pytest.Item | None) -> None:
        errors = []
        for needed in (_Collectors(test), nextitem):
            try:
                tear_down(needed)
            except (Exception, OutcomeException) as error:  # noqa: BLE001  # raised below
                errors.append(error)
            if REASON in test.stash:
                break
        if len(errors) > 1:
            message = "errors while tearing down a test and what it was collected by"
            raise BaseExceptionGroup(message, errors)
        if errors:
            raise errors[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            test.session, "gethookproxy", lambda path: _Held(hooks_of(path), held, test, troubles)
        )
        patch.setattr(setups, "teardown_exact", tear_down_what_is_over)
        yield held


def _forget_subtests(test: pytest.Item) -> None:
    """Forget failures of subtests, because of which pytest would let the next attempt fail."""
    try:
        from _pytest.subtests import failed_subtests_key
    except ImportError:  # before pytest 9
        return
    failed = test.config.stash.get(failed_subtests_key, None)
    if failed is not None:
        name: Any = getattr(test, "id", test.nodeid)  # older versions have no id
        failed.pop(name, None)


def _let_go() -> None:
    """Let go in silence of what an attempt has left half-way, as open files and coroutines.

    Whichever test ran when they are collected would be blamed for them, or the run at its end. What
    others have left, and nobody has collected yet, goes with it.
    """
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        vars(sys).pop(name, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def unfit(failures: Iterable[SandboxError], remarks: Iterable[str], *, failed: bool) -> str | None:
    """Return why a test should be run again under commit isolation; None if it should not.

    What the sandbox could not do counts also when the test has passed, as it may have swallowed the
    error. A remark, that the outcome may owe to the isolation, counts for tests that have failed.
    """
    for failure in failures:
        if isinstance(failure, CURED):
            return str(failure)
    return next(iter(remarks), None) if failed else None


def _digest(test: pytest.Item) -> str:
    """Identify a test's source: one that was changed is tried under rollback isolation again."""
    function = getattr(test, "function", None)
    try:
        # A doctest has none, and tests that are no Python have none.
        source = (
            inspect.getsource(inspect.unwrap(function)).encode()
            if function is not None
            else test.path.read_bytes()
        )
    except (OSError, TypeError):
        source = test.nodeid.encode()  # generated by a plugin
    return hashlib.sha256(source).hexdigest()[:16]
