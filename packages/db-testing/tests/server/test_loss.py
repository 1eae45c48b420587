"""A server that is lost during a test costs that test, and no other."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db_testing import _server

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Embedded

SUITES = Path(__file__).parents[1] / "suites"

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = fixture-scope
filterwarnings = error
pythonpath = .
"""


class Losses:
    """Fixtures of the run inside, which break its server."""

    def __init__(self, embedded: Embedded) -> None:
        self._embedded = embedded

    @pytest.fixture
    def restart(self) -> Callable[[], None]:
        """Return a function that stops the server and starts it again."""

        def restart() -> None:
            os.kill(self._embedded.postmaster, signal.SIGINT)
            self._embedded.wait_until_stopped()
            self._embedded.acquire()

        return restart


@pytest.mark.parametrize("loss", ["terminated", "crash", "restart"])
@pytest.mark.parametrize("isolation", ["rollback", "commit"])
def test_loss_fails_one_test(
    embedded: Embedded, pytester: pytest.Pytester, loss: str, isolation: str
) -> None:
    """The tests before and after it pass, in a clean database, whatever was lost."""
    embedded.acquire()
    url = _server._embedded(embedded.cluster).render_as_string()
    pytester.makeini(INI)
    pytester.makepyfile(models=(SUITES / "models.py").read_text())
    pytester.makeconftest((SUITES / "app_conftest.py").read_text())
    pytester.makepyfile(test_loss=(SUITES / "loss.py").read_text())
    result = pytester.runpytest_inprocess(
        f"--db-server={url}",
        f"--db-isolation={isolation}",
        "-p",
        "no:randomly",
        "-k",
        f"clean or {loss}",
        plugins=[Losses(embedded)],
    )
    result.assert_outcomes(passed=4, failed=1, deselected=2)
    result.stdout.fnmatch_lines([f"FAILED test_loss.py::test_{loss} *"])
    left = embedded.query("SELECT count(*) FROM pg_database WHERE datname ~ '^dbt_.*_main$'")
    assert left == 0
