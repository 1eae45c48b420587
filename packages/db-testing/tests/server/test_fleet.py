"""A suite that is split over machines: each with a clone, a home and process numbers of its own.

All they share is a server, which they reach by TLS and with a password.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from db_testing import cli
from db_testing._report import _results, _summary

from .conftest import PASSWORD, External, encrypted_url
from .test_loss import INI, SUITES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from db_testing._server._admin import Admin

    from .proxy import Proxy

SHARDS = 4
DISTRIBUTION = ((), ("-n", "2"))
"""Shards of both kinds: without xdist, and with it."""

CONNECTIONS = 30
"""What the role of the tests may have: for six processes, little more than they need."""

BOUND = 240.0
"""Seconds for a shard. Alone, it takes three."""

TESTS = """
    import pytest
    import sqlalchemy as sa
    from models import Item

    ISOLATIONS = [
        pytest.param(name, marks=pytest.mark.db(isolation=name))
        for name in ("rollback", "commit", "database")
    ]

    @pytest.mark.parametrize("number", range(8))
    @pytest.mark.parametrize("isolation", ISOLATIONS)
    async def test_finds_nothing_of_others(db, isolation, number):
        item = Item(name="the same name in every test")
        db.add(item)
        await db.commit()
        await db.refresh(item)
        assert item.id == 1
        assert (await db.execute(sa.select(sa.func.count()).select_from(Item))).scalar_one() == 1
"""

NAMES = {
    f"test_it.py::test_finds_nothing_of_others[{isolation}-{number}]"
    for isolation in ("rollback", "commit", "database")
    for number in range(8)
}


@dataclass(frozen=True)
class Machine:
    """A clone, and a home, in which no process number means what it means elsewhere."""

    number: int
    home: Path

    @property
    def clone(self) -> Path:
        """Where the suite lies, and its report."""
        return self.home / f"clone-{self.number}"

    @property
    def report(self) -> Path:
        """The report of its shard."""
        return self.clone / "report.json"

    def start(self, source: Path, url: str) -> subprocess.Popen[str]:
        """Run a shard."""
        shutil.copytree(source, self.clone)
        command = [sys.executable, "-m", "pytest", *DISTRIBUTION[self.number % 2]]
        command += [f"--splits={SHARDS}", f"--group={self.number}"]
        command += ["-p", "randomly", "--randomly-seed=1", "--db-report=report.json"]
        environment = os.environ | {
            "DB_TESTING_SERVER": url,
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "TMPDIR": str(self.home),
        }
        return subprocess.Popen(
            [*apart(f"machine-{self.number}"), *command],
            cwd=self.clone,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def apart(name: str) -> list[str]:
    """Return what runs a command with process numbers and a host name of its own, if one may."""
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    spaces = ["--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]
    command = ["unshare", *rights, *spaces, "sh", "-c", f'hostname {name} && exec "$@"', "sh"]
    if shutil.which("unshare") is None:
        return []
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else []


@pytest.fixture
def role(external: External) -> Iterator[str]:
    """Make a role that may have few connections."""
    name = f"fleet_{os.getpid()}"
    boss = external.admin(external.url())
    attributes = f"LOGIN CREATEDB CONNECTION LIMIT {CONNECTIONS} PASSWORD '{PASSWORD}'"
    boss.run(boss.connection.execute, f"CREATE ROLE {name} {attributes}")
    yield name
    for database in databases(boss, name):
        boss.run(boss.connection.execute, f'DROP DATABASE "{database}"')
    boss.run(boss.connection.execute, f"DROP ROLE {name}")
    boss.close()


def databases(boss: Admin, role: str) -> list[str]:
    """List a role's databases."""
    rows = boss.run(
        boss.connection.fetch,
        "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = $1",
        role,
    )
    return [row["datname"] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("external", ["embedded"], indirect=True)
def test_shards_are_the_suite(
    external: External, proxy: Proxy, role: str, pytester: pytest.Pytester, tmp_path: Path
) -> None:
    """Each test runs once, in a clean database; one report says so; only a template is left."""
    pytester.makeini(INI)
    pytester.makepyfile(models=(SUITES / "models.py").read_text(), test_it=TESTS)
    pytester.makeconftest((SUITES / "app_conftest.py").read_text())
    machines = [Machine(number, tmp_path / f"home-{number}") for number in range(1, SHARDS + 1)]
    with proxy.running() as port:
        url = encrypted_url(port, role)
        running = [machine.start(pytester.path, url) for machine in machines]
        said = [process.communicate(timeout=BOUND)[0] for process in running]
    assert [process.returncode for process in running] == [0] * SHARDS, said
    assert proxy.refused == 0

    reports = [str(machine.report) for machine in machines]
    merged = tmp_path / "merged.json"
    assert cli.main(["report", "merge", *reports, "-o", str(merged)]) == 0
    report = _results.read(merged)
    counts = ["4 runs, 24 tests: 24 passed", ".: all 24 ran"]
    assert _summary.summary(report)[:2] == counts
    assert sorted(result.test for result in report.tests) == sorted(NAMES)
    assert [run.shard for run in report.runs] == ["1/4", "2/4", "3/4", "4/4"]
    if apart("x"):
        assert [run.machine for run in report.runs] == [f"machine-{n}" for n in range(1, 5)]
    assert PASSWORD not in merged.read_text() + "".join(said)

    boss = external.admin(external.url())
    try:
        (template,) = databases(boss, role)
        assert template.startswith("dbt_template_")
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1"
        assert boss.run(boss.connection.fetchval, sessions, role) == 0
    finally:
        boss.close()
