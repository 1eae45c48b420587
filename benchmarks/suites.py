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
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from server import Server

BUDGET: Final = 5.0
"""Seconds of tests after which a suite has said enough, unless told otherwise."""
YARDSTICKS: Final = 50
"""How often the yardstick is laid to the machine in each turn."""

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
pythonpath = .
addopts = -q -p no:cacheprovider -p asyncio
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

ROWS = int(os.environ["BENCHMARK_ROWS"])

@pytest.mark.parametrize("number", range(int(os.environ["BENCHMARK_TESTS"])))
async def test_writes_and_reads(db, number):
    table = TABLES[number % len(TABLES)]
    names = [uuid.uuid4().hex for _ in range(ROWS)]
    db.add_all(
        table(name=name, amount=number, status=Status.open, details={"number": number})
        for name in names
    )
    await db.commit()
    found = (await db.execute(select(table).where(table.name.in_(names)))).scalars().all()
    assert [row.details for row in found] == ROWS * [{"number": number}]
"""

ENGINE = """
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
    await engine.dispose()  # a server process that has built a schema is slower ever after
    yield engine
    await engine.dispose()
    async with server.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name}"))
    await server.dispose()
"""
DATABASE = (
    """
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
"""
    + ENGINE
)

CONFTEST = (
    DATABASE
    + """
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
        told = {"times": times, "cpu": cpu, "cold": self.cold}
        os.write(done, json.dumps(told).encode() + b"\\n")
        self.times.clear()
        self.began = None

    def pytest_sessionfinish(self, exitstatus):
        if self.times[self.cold:]:
            self.report()

def pytest_configure(config):
    config.pluginmanager.register(Block(), "block")
"""
)


@dataclass(frozen=True, eq=False)
class Suite:
    """One way of isolating the tests."""

    name: str
    conftest: str = ""
    """What is added to the common one: the fixture `db`."""
    tests: str = TESTS
    options: Sequence[str] = ()
    """Of pytest, which loads no plugin by itself but pytest-asyncio."""
    remark: str = ""
    """What it does not do."""
    files: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write its files into a new folder."""
        folder.mkdir()
        for name, text in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
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
    server_cpu: float = 0.0
    """The same, of all processes of the server; that of the tests which found caches cold too."""


@dataclass(frozen=True)
class Run:
    """A suite's process."""

    suite: Suite
    process: subprocess.Popen[str]
    log: Path
    go: IO[bytes]
    done: IO[bytes]
    blocks: list[Block] = field(default_factory=list)

    def block(self, server: Server) -> bool:
        """Let it run a block; tell whether it did."""
        before = server.cpu()
        with contextlib.suppress(BrokenPipeError):
            self.go.write(b".")
        line = self.done.readline()
        if line:
            told = json.loads(line)
            spent = (server.cpu() - before) / (told.pop("cold") + len(told["times"]))
            self.blocks.append(Block(**told, server_cpu=spent))
        return bool(line)

    def end(self) -> str | None:
        """Let it end; return why it failed, if it did."""
        self.go.close()
        code = self.process.wait(60)
        log = self.log.read_text()
        for line in log.splitlines():
            if "a new database after" in line:  # which explains a figure that surprises
                print(f"{self.suite.name}: {line}", file=sys.stderr)
        if code == 0:
            return None
        reasons = [line[1:].strip() for line in log.splitlines() if line.startswith("E  ")]
        print(f"{self.suite.name} failed:\n{log}", file=sys.stderr)
        return reasons[0] if reasons else (log.splitlines() or ["it printed nothing"])[-1]


@dataclass(frozen=True)
class Measured:
    """What came of a suite."""

    blocks: list[Block]
    """But for the first, which warms up; none of a suite that failed."""
    failure: str | None


def environment(**told: str) -> dict[str, str]:
    """Return what a process of pytest is told: to load no plugin that is not named."""
    # Without its bytecode, each process compiles all that it imports: that takes seconds.
    inherited = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    return inherited | {
        # What is installed beside would be part of every test.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(Path(__file__).parent),
        **told,
    }


def shape(
    server: Server, *, tests: int, tables: int, rows: int = 2, schema: str = "known"
) -> dict[str, str]:
    """Return what the files of a suite are told: of what size it is, and where."""
    return {
        "BENCHMARK_TESTS": str(tests),
        "BENCHMARK_TABLES": str(tables),
        "BENCHMARK_ROWS": str(rows),
        "BENCHMARK_SERVER": server.url,
        "BENCHMARK_SCHEMA": schema,
    }


@contextlib.contextmanager
def start(
    suite: Suite,
    folder: Path,
    server: Server,
    *,
    tests: int,
    tables: int,
    rows: int = 2,
    schema: str = "known",
    counts: Path | None = None,
) -> Iterator[Run]:
    """Start a suite, which waits before its first test; at the end it is gone.

    `schema` is a comment in the schema, which makes it another one; `counts` is where the plugin
    `counted` writes what it has counted.
    """
    may_go, go = os.pipe()
    done, is_done = os.pipe()
    told = shape(server, tests=tests, tables=tables, rows=rows, schema=schema) | {
        "BENCHMARK_COUNTS": str(counts),
        "BENCHMARK_PIPES": f"{may_go} {is_done}",
    }
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "place", *suite.options],
            cwd=folder,
            env=environment(**told),
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
        except BaseException:
            process.kill()  # nobody waits for what it has to say
            raise
        finally:
            writer.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def in_turn(
    suites: Sequence[Suite],
    folder: Path,
    server: Server,
    *,
    tests: int,
    tables: int,
    rows: int = 2,
    budget: float = BUDGET,
) -> tuple[dict[str, Measured], list[float]]:
    """Run the suites in turn; return what came of each, and the yardstick's times beside it."""
    yardstick: list[float] = []
    failures: dict[str, str | None] = {}
    with contextlib.ExitStack() as steps:
        runs = []
        for number, suite in enumerate(suites):
            place = folder / f"suite{number}"
            suite.write(place)
            started = start(suite, place, server, tests=tests, tables=tables, rows=rows)
            runs.append(steps.enter_context(started))
        active = list(runs)
        while active:
            yardstick += server.yardstick(YARDSTICKS)
            for run in list(active):
                counted = run.blocks[1:]
                spent = sum(sum(block.times) for block in counted)
                if (spent > budget and len(counted) > 1) or not run.block(server):
                    active.remove(run)
                    failures[run.suite.name] = run.end()
    return {
        run.suite.name: Measured(
            [] if failures[run.suite.name] else run.blocks[1:], failures[run.suite.name]
        )
        for run in runs
    }, yardstick
