"""One database per xdist worker."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Suite

pytestmark = pytest.mark.slow

RECORD = """
    import pytest
    from models import Item
    from sqlalchemy import text

    @pytest.mark.parametrize(
        "number",
        [pytest.param(n, marks=pytest.mark.xdist_group(f"group {n % 3}")) for n in range(8)],
    )
    async def test_record(db, worker_id, number):
        item = Item(name="same name in every worker")
        db.add(item)
        await db.commit()
        await db.refresh(item)
        assert item.id == 1
        name = (await db.execute(text("SELECT current_database()"))).scalar_one()
        with open("databases", "a") as file:
            print(worker_id, name, file=file)
"""


@pytest.mark.parametrize(
    "distribution", ["load", "worksteal", "loadfile", "loadscope", "loadgroup", "each"]
)
def test_each_worker_has_a_database_of_its_own(
    suite: Suite, databases_of: Callable[[], list[str]], distribution: str
) -> None:
    """Workers never share a database, and none of them is left after the run."""
    pytester = suite(mode="auto")
    pytester.makepyfile(RECORD)
    result = pytester.runpytest_subprocess("-n", "2", "--dist", distribution)
    tests = 16 if distribution == "each" else 8
    result.assert_outcomes(passed=tests)
    result.stdout.re_match_lines([rf"db-testing: {tests} database tests, .*"])
    rows = [line.split() for line in (pytester.path / "databases").read_text().splitlines()]
    pairs = {(worker, name) for worker, name in rows}
    assert len(pairs) == len({name for _, name in pairs}) == len({worker for worker, _ in pairs})
    assert all(name.endswith(worker) for worker, name in pairs)
    assert databases_of() == []


@pytest.mark.usefixtures("afresh")
def test_database_of_a_killed_worker_is_gone_after_the_next_run(
    suite: Suite, databases_of: Callable[[], list[str]]
) -> None:
    """SIGKILL leaves a database behind; whoever comes next drops it."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import os
        import signal
        from models import Item

        async def test_killed(db, test_database_url):
            db.add(Item(name="a"))
            await db.commit()
            with open("killed", "w") as file:
                file.write(test_database_url)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    result = pytester.runpytest_subprocess()
    assert result.ret == -signal.SIGKILL
    # Whether it is still there cannot be asked: a run of another test may be the next.
    assert pytester.path.name in (pytester.path / "killed").read_text()
    pytester.makepyfile(RECORD)
    pytester.runpytest_subprocess("-n", "2", "-k", "record").assert_outcomes(passed=8)
    assert databases_of() == []


@pytest.mark.parametrize(
    ("distribution", "end"),
    [("load", "os._exit(3)"), ("worksteal", "os.kill(os.getpid(), signal.SIGKILL)")],
)
def test_crashed_worker_is_replaced(
    suite: Suite, databases_of: Callable[[], list[str]], distribution: str, end: str
) -> None:
    """A worker that dies is replaced; the new one has a database too, and all are gone after."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        test_crash=f"""
        import os
        import signal
        from models import Item

        async def test_crash(db):
            db.add(Item(name="same name in every worker"))
            await db.commit()
            {end}
        """,
        test_record=RECORD,
    )
    result = pytester.runpytest_subprocess("-n", "2", "--dist", distribution)
    result.assert_outcomes(passed=8, failed=1)
    pytester.runpytest_subprocess("-k", "record").assert_outcomes(passed=8, deselected=1)
    assert databases_of() == []


def test_workers_of_another_machine_use_the_same_server(
    suite: Suite, databases_of: Callable[[], list[str]]
) -> None:
    """`--tx` leads to a clone with an environment of its own; the caller says which server."""
    pytester = suite(mode="auto")
    pytester.makepyfile(RECORD)
    clone = pytester.path.with_name("clone")
    shutil.copytree(pytester.path, clone)
    machine = f"2*popen//chdir={clone}//env:HOME={clone}//env:DB_TESTING_SERVER=system:99"
    result = pytester.runpytest_subprocess("--dist", "load", "--tx", machine)
    result.assert_outcomes(passed=8)
    rows = [line.split() for line in (clone / "databases").read_text().splitlines()]
    assert {worker for worker, _ in rows} == {"gw0", "gw1"}
    assert not (pytester.path / "databases").exists()
    assert databases_of() == []


def test_runs_at_the_same_time_do_not_meet(
    suite: Suite, databases_of: Callable[[], list[str]]
) -> None:
    """Two runs of one project at once have databases of their own."""
    pytester = suite(mode="auto")
    pytester.makepyfile(RECORD)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider"]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=pytester.path, text=True)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert databases_of() == []
