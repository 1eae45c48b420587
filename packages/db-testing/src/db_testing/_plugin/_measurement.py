"""What a test has sent to the database, noted in the process that runs it, for the report.

Registered only in a run that is to be reported, so that no other one calls anything here.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from .._isolation._listening import listening
from .._report import _tables
from . import _recorder, _state

if TYPE_CHECKING:
    from collections.abc import Generator

    from .._isolation._listening import Sent
    from ._recorder import Measured


class Measurement:
    """The statements of the running test, and how long its isolation takes."""

    def __init__(self, config: pytest.Config) -> None:
        """Begin to listen."""
        self._config = config
        self._root = f"{config.rootpath}{os.sep}"
        self._wider = 0
        """How many fixtures of wider scope are being set up."""
        self._sent: dict[tuple[str, str], list[float]] = {}
        self._before = 0.0
        self._listening = contextlib.ExitStack()
        self._listening.enter_context(listening(self._note))

    def _note(self, sent: Sent) -> None:
        if self._wider or self._config.stash[_state.RUN].attempt is None:
            return
        line = sent.line.removeprefix(self._root)
        key = _tables.shortened(sent.sql), line
        self._sent.setdefault(key, []).append(sent.seconds)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None]:
        """Begin anew, also for a second attempt."""
        self._sent = {}
        self._before = _state.isolation_seconds(self._config)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Let what wider fixtures do be nobody's."""
        wider = fixturedef.scope != "function"
        self._wider += wider
        try:
            return (yield)
        finally:
            self._wider -= wider

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """Send it with the report of a test's end."""
        report = yield
        if call.when == "teardown":
            measured: Measured = {
                "isolation": _state.isolation_seconds(self._config) - self._before,
                "sent": [
                    (sql, line, len(seconds), sum(seconds), max(seconds))
                    for (sql, line), seconds in self._sent.items()
                ],
            }
            setattr(report, _recorder.MEASURED, measured)
        return report

    def pytest_unconfigure(self) -> None:
        """Listen no more."""
        self._listening.close()


def register(config: pytest.Config) -> None:
    """Let the tests of a run that is to be reported be measured."""
    if _state.settings(config).report is not None:
        config.pluginmanager.register(Measurement(config), "db_testing_measurement")
