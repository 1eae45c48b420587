"""A server that is lost during a test costs that test, and no other."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db_testing._server import _cluster, _server

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Embedded

SUITES = Path(__file__).parents[1] / "suites"

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
filterwarnings = error
pythonpath = .
"""


class Losses:
    """Fixtures of the run inside, which break its server."""

    def __init__(self, embedded: Embedded) -> None:
        self._embedded = embedded
        self.starting: threading.Thread | None = None

    @pytest.fixture
    def restart(self) -> Callable[[], None]:
        """Return a function that stops the server and has it started again meanwhile."""

        def restart() -> None:
            os.kill(self._embedded.postmaster, signal.SIGINT)
            self._embedded.wait_until_stopped()
            self.starting = threading.Thread(target=self._embedded.acquire)
            self.starting.start()

        return restart


def run(
    suite: str, embedded: Embedded, pytester: pytest.Pytester, *arguments: str
) -> pytest.RunResult:
    """Run a suite on a server of its own."""
    embedded.acquire()
    url = _server.address(embedded.cluster).render_as_string()
    pytester.makeini(INI)
    pytester.makepyfile(models=(SUITES / "models.py").read_text())
    pytester.makeconftest((SUITES / "app_conftest.py").read_text())
    pytester.makepyfile(**{f"test_{suite}": (SUITES / f"{suite}.py").read_text()})
    losses = Losses(embedded)
    result = pytester.runpytest_inprocess(f"--db-server={url}", *arguments, plugins=[losses])
    if losses.starting is not None:
        losses.starting.join()
    return result


@pytest.mark.parametrize("loss", ["terminated", "crash", "restart"])
@pytest.mark.parametrize("isolation", ["rollback", "commit", "database"])
def test_loss_fails_one_test(
    embedded: Embedded, pytester: pytest.Pytester, loss: str, isolation: str
) -> None:
    """The tests before and after it pass, in a clean database, whatever was lost."""
    result = run(
        "loss", embedded, pytester, f"--db-isolation={isolation}", "-k", f"clean or {loss}"
    )
    result.assert_outcomes(passed=4, failed=1, deselected=2)
    result.stdout.fnmatch_lines([f"FAILED test_loss.py::test_{loss} *"])
    left = embedded.query("SELECT count(*) FROM pg_database WHERE datname ~ '^dbt_.*_main[a-z]*$'")
    assert left == 0


def test_server_that_does_not_tell_of_commits(
    embedded: Embedded, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without track_commit_timestamp commits of this process's engines are blamed, no others."""
    monkeypatch.setitem(_cluster.OPTIONS, "track_commit_timestamp", "off")
    result = run("escapes", embedded, pytester, "-k", "second_engine")
    result.assert_outcomes(passed=4, errors=2, deselected=16)
    result.stdout.fnmatch_lines(
        ["*::test_second_engine has really committed 1 row in item, by the commit at *"]
    )
