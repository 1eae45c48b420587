"""A suite of tests, run by several processes in turn.

Machines are noisy, for seconds and for minutes. So the processes of all suites that are to be
compared live at once, and run 25 tests each in turn, one process at a time: what is compared has
happened within seconds. The first five of them find the processor's caches cold, and do not count.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BUDGET: Final = 10.0
"""Seconds of tests after which a suite has said enough, unless told otherwise."""

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
pythonpath = .
addopts = -q -p no:randomly -p no:cacheprovider
"""

MODELS = """
import enum
import os
from sqlalchemy.dialects.postgresql import DOMAIN, JSONB
from sqlalchemy import Enum, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Status(enum.Enum):
    open = 1
    closed = 2

STATUS = Enum(Status, name="status", metadata=Base.metadata)
NAME = DOMAIN("name_of_something", Text(), check="VALUE <> ''", metadata=Base.metadata)

def table(number):
    return type(f"Table{number}", (Base,), {
        "__tablename__": f"table_{number}",
        "__table_args__": {"comment": os.environ["BENCHMARK_SCHEMA"]},
        "__annotations__": {
            "id": Mapped[int],
            "name": Mapped[str],
            "amount": Mapped[int],
            "status": Mapped[Status],
            "details": Mapped[dict],
        },
        "id": mapped_column(primary_key=True),
        "name": mapped_column(NAME, unique=True),
        "amount": mapped_column(index=True),
        "status": mapped_column(STATUS),
        "details": mapped_column(JSONB),
    })

TABLES = [table(number) for number in range(int(os.environ["BENCHMARK_TABLES"]))]
"""

TESTS = """
import os
import uuid
import pytest
from models import TABLES, Status
from sqlalchemy import select

@pytest.mark.parametrize("number", range(int(os.environ["BENCHMARK_TESTS"])))
async def test_writes_and_reads(db, number):
    table = TABLES[number % len(TABLES)]
    names = [uuid.uuid4().hex, uuid.uuid4().hex]
    db.add_all(
        table(name=name, amount=number, status=Status.open, details={"number": number})
        for name in names
    )
    await db.commit()
    found = (await db.execute(select(table).where(table.name.in_(names)))).scalars().all()
    assert [row.details for row in found] == 2 * [{"number": number}]
"""

CONFTEST = """
import json
import os
import time
import uuid
import pytest
from models import Base
from db_testing import Schema
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_metadata(Base.metadata)

@pytest.fixture(scope="session")
async def engine():
    url = make_url(os.environ["BENCHMARK_SERVER"])
    server = create_async_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    name = f"benchmark_{uuid.uuid4().hex}"
    async with server.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_async_engine(url.set(database=name))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()
    async with server.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name}"))
    await server.dispose()

go, done = (int(number) for number in os.environ["BENCHMARK_PIPES"].split())

class Block:
    # Tests that run one after another, while the other suites wait.

    times = []
    cold = 0
    began = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        if self.began is None:
            if not os.read(go, 1):
                pytest.exit("enough", returncode=int(item.session.testsfailed > 0))
            self.began, self.cpu = time.perf_counter(), time.process_time()
            self.end, self.cold = self.began, 0
        result = yield
        begin, self.end = self.end, time.perf_counter()
        self.times.append(self.end - begin)
        if len(self.times) == 5 and self.end - self.began < 0.25:
            self.cpu, self.cold = time.process_time(), 5
        if len(self.times) == 25 or self.end - self.began > 0.5:
            self.report()
        return result

    def report(self):
        times = self.times[self.cold:]
        cpu = (time.process_time() - self.cpu) / len(times)
        os.write(done, json.dumps({"times": times, "cpu": cpu}).encode() + b"\\n")
        self.times.clear()
        self.began = None

    def pytest_sessionfinish(self, exitstatus):
        if self.times[self.cold:]:
            self.report()

def pytest_configure(config):
    config.pluginmanager.register(Block(), "block")
"""


@dataclass(frozen=True, eq=False)
class Suite:
    """One way of isolating the tests."""

    name: str
    conftest: str = ""
    """What is added to the common one: the fixture `db`."""
    tests: str = TESTS
    options: Sequence[str] = ("-p", "no:db_testing", "-p", "no:pytest_postgresql")
    remark: str = ""
    """What it does not do."""

    def write(self, folder: Path) -> None:
        """Write its files into a new folder."""
        folder.mkdir()
        (folder / "pytest.ini").write_text(INI)
        (folder / "models.py").write_text(MODELS)
        (folder / "conftest.py").write_text(CONFTEST + self.conftest)
        (folder / "test_suite.py").write_text(self.tests)


@dataclass(frozen=True)
class Block:
    """Tests that one suite ran while the others waited."""

    times: list[float]
    """Seconds of each test, its fixtures included."""
    cpu: float
    """Seconds of processor time per test, of the test process alone."""


@dataclass(frozen=True)
class Run:
    """A suite's process."""

    suite: Suite
    process: subprocess.Popen[str]
    log: Path
    go: IO[bytes]
    done: IO[bytes]
    blocks: list[Block] = field(default_factory=list)

    def block(self) -> bool:
        """Let it run a block; tell whether it did."""
        with contextlib.suppress(BrokenPipeError):
            self.go.write(b".")
        line = self.done.readline()
        if line:
            self.blocks.append(Block(**json.loads(line)))
        return bool(line)

    def end(self) -> bool:
        """Let it end; tell whether no test failed, and print those that did."""
        self.go.close()
        passed = self.process.wait(60) == 0
        if not passed:
            print(f"{self.suite.name} failed:\n{self.log.read_text()}", file=sys.stderr)
        return passed


@contextlib.contextmanager
def start(
    suite: Suite, folder: Path, server: str, *, tests: int, tables: int, schema: str = "known"
) -> Iterator[Run]:
    """Start a suite, which waits before its first test; at the end it is gone.

    `schema` is a comment in the schema, which makes it another one.
    """
    may_go, go = os.pipe()
    done, is_done = os.pipe()
    environment = os.environ | {
        "BENCHMARK_TESTS": str(tests),
        "BENCHMARK_TABLES": str(tables),
        "BENCHMARK_SERVER": server,
        "BENCHMARK_SCHEMA": schema,
        "BENCHMARK_PIPES": f"{may_go} {is_done}",
    }
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *suite.options],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=(may_go, is_done),
        )
    os.close(may_go)
    os.close(is_done)
    with os.fdopen(go, "wb", buffering=0) as writer, os.fdopen(done, "rb") as reader:
        run = Run(suite, process, log, writer, reader)
        try:
            yield run
        finally:
            writer.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def in_turn(
    suites: Sequence[Suite],
    folder: Path,
    server: str,
    *,
    tests: int,
    tables: int,
    budget: float = BUDGET,
) -> dict[str, list[Block]]:
    """Run the suites in turn; return the blocks of each, but the first, which warms up.

    A suite that failed has none.
    """
    with contextlib.ExitStack() as steps:
        runs = []
        for number, suite in enumerate(suites):
            place = folder / f"suite{number}"
            suite.write(place)
            runs.append(
                steps.enter_context(start(suite, place, server, tests=tests, tables=tables))
            )
        active = list(runs)
        while active:
            for run in list(active):
                spent = sum(sum(block.times) for block in run.blocks[1:])
                if (spent > budget and len(run.blocks) > 1) or not run.block():
                    active.remove(run)
                    if not run.end():
                        run.blocks.clear()
    return {run.suite.name: run.blocks[1:] for run in runs}
