"""Every fault that is promised to cost nothing but the run it hits, for real: a run, and the next.

What each has left, and what the next run did, is printed as a table at the end of a test run.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db_testing._server._cluster import Cluster

from .conftest import Embedded, copy_with_owners, make_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Row = Callable[..., None]

pytestmark = pytest.mark.slow

SUITES = Path(__file__).parents[1] / "suites"
BOUND = 120.0
"""Seconds within which a run of three tests must have ended."""

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
filterwarnings = error
pythonpath = .
addopts = -p no:cacheprovider
"""

PASSED = "3 passed"

RUNS, WORKERS = 8, 4
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


class Place:
    """A project's folder, and the home of the server that its runs use."""

    def __init__(self, folder: Path, embedded: Embedded) -> None:
        """Write the project."""
        self.folder = folder
        self.embedded = embedded
        self.beneath: list[str] = []
        """A command that runs what follows it."""
        # Pytest cuts what it says of a failure where its line ends.
        self.environment = os.environ | {"FAULTS_HOME": str(embedded.home), "COLUMNS": "500"}
        folder.mkdir(exist_ok=True)
        (folder / "pytest.ini").write_text(INI)
        (folder / "conftest.py").write_text((SUITES / "faults_conftest.py").read_text())
        for name, file in {"models": "models", "faults": "test_faults"}.items():
            (folder / f"{file}.py").write_text((SUITES / f"{name}.py").read_text())

    def start(self, *arguments: str, fault: str = "none", **more: str) -> subprocess.Popen[str]:
        """Start a run in which a test meets a fault."""
        return subprocess.Popen(
            [*self.beneath, sys.executable, "-m", "pytest", "-q", *arguments],
            cwd=self.folder,
            env=self.environment | {"FAULT": fault} | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, fault: str = "none", **more: str) -> str:
        """Run to the end, and return how the run ended and what it said."""
        run = self.start(*arguments, fault=fault, **more)
        try:
            said = run.communicate(timeout=BOUND)[0]
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            pytest.fail(f"hangs after {BOUND:g} s: {run.communicate()[0]}")
        if run.returncode < 0:
            return f"the run was killed by signal {-run.returncode}"
        return said

    def databases(self) -> list[str]:
        """Return what is there besides templates. Nobody uses the server by then."""
        with self.embedded.cluster.acquire():
            found = self.embedded.query(
                "SELECT coalesce(string_agg(datname, ' ' ORDER BY datname), '') FROM pg_database "
                "WHERE datname LIKE 'dbt\\_%' AND datname NOT LIKE 'dbt\\_template\\_%'"
            )
        return str(found).split()

    def files(self) -> list[str]:
        """Return what lies in the cluster's folder, but for what is to be there."""
        kept = {"booted", "data", "leases", "running", "starting", "server.log", "socket"}
        folder = self.embedded.cluster.folder
        return sorted(path.name for path in folder.iterdir() if path.name not in kept)


@pytest.fixture
def place(tmp_path: Path, embedded: Embedded) -> Place:
    """Return a project of its own, with a server of its own."""
    return Place(tmp_path / f"project{os.getpid()}", embedded)


def summary(said: str) -> str:
    """Return a run's last words on its tests."""
    found = re.findall(r"(?:\d+ (?:passed|failed|errors?)(?:, )?)+", said)
    return found[-1] if found else said.strip().splitlines()[-1]


def ends_well(place: Place, row: Row, fault: str, first: str) -> None:
    """Run again without a fault: everything passes, and nothing is left of either run."""
    place.embedded.wait_until_stopped()
    databases, files = place.databases(), place.files()
    place.embedded.wait_until_stopped()
    left = f"{len(databases)} databases" if databases else "nothing"
    after = place.run()
    assert summary(after) == PASSED, after
    place.embedded.wait_until_stopped()
    assert place.databases() == []
    place.embedded.wait_until_stopped()
    assert set(place.files()) <= set(files) | set(socket_folder(place))
    assert len(list(place.embedded.cluster.folder.glob("socket-*"))) <= 1
    row(fault, first=summary(first), left=left, after=f"{PASSED}, nothing left")


def socket_folder(place: Place) -> list[str]:
    """Return the name of the empty folder that the last server had its socket in."""
    folders = list(place.embedded.cluster.folder.glob("socket-*"))
    assert all(not list(folder.iterdir()) for folder in folders)
    return [folder.name for folder in folders]


@pytest.mark.parametrize(
    ("fault", "arguments", "first"),
    [
        ("killed test process", (), "the run was killed by signal 9"),
        ("killed worker", ("-n", "1"), "1 failed, 2 passed"),
        ("killed controller", ("-n", "1"), "the run was killed by signal 9"),
        ("killed postmaster", (), "1 failed, 2 passed"),
        ("killed watchdog", (), "1 failed, 2 passed"),
        ("killed after its last statement", (), PASSED),
        ("fork", (), PASSED),
        ("stopped and resumed", (), PASSED),
    ],
)
def test_fault_in_a_test(
    place: Place, row: Row, fault: str, arguments: tuple[str, ...], first: str
) -> None:
    """It costs that test at most, or the run if that is what was killed."""
    said = place.run(*arguments, fault=fault)
    assert summary(said) == first, said
    ends_well(place, row, fault, said)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Return another folder that the server's user can reach."""
    folder = make_home()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_crash_of_the_machine(place: Place, row: Row, elsewhere: Path) -> None:
    """What the disk has of a data directory in use is as good as what it was, or thrown away."""
    with place.embedded.cluster.acquire():
        assert summary(place.run()) == PASSED
        running = place.embedded.cluster
        folder = elsewhere / running.folder.name
        folder.mkdir(mode=0o711)
        copy_with_owners(running.data, folder / "data")
        for name in ("leases", "running", "starting"):
            shutil.copy(running.folder / name, folder / name)
        (folder / "booted").write_text("another time")
    place.embedded.wait_until_stopped()
    copy = Embedded(Cluster(folder, running.binaries, running.identity))
    after = Place(place.folder, copy).run()
    assert summary(after) == PASSED, after
    copy.wait_until_stopped()
    row("crash of the machine", first="-", left="data in use", after=PASSED)


@pytest.mark.parametrize(("jump", "arguments"), [("+3650d", ()), ("-3650d", ("-n", "1"))])
def test_clock_that_jumps(
    place: Place, row: Row, elsewhere: Path, jump: str, arguments: tuple[str, ...]
) -> None:
    """In the middle of a run, for all its processes and the server's: nobody notices."""
    (vendored,) = (
        file.locate()
        for file in importlib.metadata.files("libfaketime") or ()
        if file.name.startswith("libfaketime.so")
    )
    # Where the server's user can read them.
    library = str(shutil.copy(str(vendored), elsewhere))
    clock = elsewhere / "clock"
    clock.write_text("+0")
    said = place.run(
        *arguments,
        fault="clock that jumps",
        FAULTS_JUMP=jump,
        LD_PRELOAD=library,
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",  # which no clock that is put changes
        FAKETIME_DISABLE_SHM="1",
        NO_FAKE_STAT="1",
    )
    assert summary(said) == PASSED, said
    ends_well(place, row, f"clock put {jump}", said)


@pytest.mark.parametrize("days", [-3650, 3650])
def test_files_of_another_time(place: Place, row: Row, days: int) -> None:
    """They are as good as those of now, unless they are old enough to go."""
    assert summary(place.run()) == PASSED
    place.embedded.wait_until_stopped()
    then = time.time() + days * 24 * 3600
    for path in place.embedded.cluster.folder.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)
    ends_well(place, row, f"files of {days // 365:+} years", "-")


def test_home_that_cannot_be_used(place: Place, row: Row, tmp_path: Path) -> None:
    """A HOME that is missing, or is a file, is not needed where there is memory."""
    (tmp_path / "file").touch()
    for home in ("/nonexistent", str(tmp_path / "file")):
        said = place.run(HOME=home, XDG_CACHE_HOME="")
        assert summary(said) == PASSED, said
    ends_well(place, row, "HOME that cannot be used", PASSED)


def test_two_checkouts_at_once(place: Place, row: Row, tmp_path: Path) -> None:
    """Two projects of one name, at the same time, on one server."""
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other" / place.folder.name, place.embedded)
    runs = [each.start("-n", "2", fault="none") for each in (place, other)]
    for run in runs:
        said = run.communicate(timeout=BOUND)[0]
        assert summary(said) == PASSED, said
    ends_well(place, row, "two checkouts at once", PASSED)


def test_eight_runs_of_four_workers(place: Place, row: Row, tmp_path: Path) -> None:
    """All at once on one server: none is refused a connection, and nothing is left."""
    others = [Place(tmp_path / str(number), place.embedded) for number in range(RUNS - 1)]
    with place.embedded.cluster.acquire():
        admin = place.embedded.connect()
        runs = [each.start("-n", str(WORKERS), "--count=2") for each in (place, *others)]
        most, ended = 0, [run.poll() for run in runs]
        while None in ended:
            has = admin.run(admin.connection.fetchval, CONNECTIONS)
            most, ended = max(most, has), [run.poll() for run in runs]
            time.sleep(0.05)  # between two looks
        allowed = int(admin.run(admin.connection.fetchval, "SHOW max_connections"))
        admin.close()
        place.embedded.stack.pop_all()
    for run in runs:
        said = run.communicate(timeout=BOUND)[0]
        assert summary(said) == "6 passed", said  # each worker has some
    assert most < allowed
    ends_well(place, row, f"{RUNS} runs of {WORKERS} workers", PASSED)
