"""Random programs do in the sandbox what they do on real connections.

As in the model of tasks, whose programs and oracle these are: first three sessions of one thread
overlap in any way, each with rows of its own; then each session is a thread, all work on the same
rows, and the same transactions one after the other on one real connection give the same results.
"""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from db_testing._sandbox import _turns
from db_testing.errors import SandboxConflictError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from db_testing._sandbox._transaction import Transaction

    from .conftest import World

MODEL: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "sandbox" / "test_model.py"))
SESSIONS: int = MODEL["SESSIONS"]
STATEMENTS = {
    action: statement.replace("$1", "%(row)s") for action, statement in MODEL["STATEMENTS"].items()
}
ROWS = MODEL["ROWS"]
ordinary: settings = MODEL["ordinary"]


class Session:
    """A connection, real or virtual, and the savepoints it has open."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        connection.autocommit = True
        self.open: list[str] = []
        self.count = 0

    def do(self, action: str, row: str) -> Any:
        """Take a step; return its result or the kind of its error."""
        connection = self.connection
        try:
            if action in STATEMENTS:
                cursor = connection.execute(STATEMENTS[action], {"row": row})
                return cursor.fetchall() if cursor.description else "done"
            if action == "begin" and self.open:
                return "open already"
            if action in ("begin", "nested"):
                self.count += 1
                self.open.append(f"s{self.count}")
                if len(self.open) == 1:
                    connection.autocommit = False
                else:
                    self._savepoint("SAVEPOINT")
            elif action in ("release", "rollback_to") and len(self.open) > 1:
                verb = "RELEASE" if action == "release" else "ROLLBACK TO"
                connection.execute(f"{verb} {self.open.pop()}")
            elif action in ("commit", "rollback") and self.open:
                self.open = []
                try:
                    getattr(connection, action)()
                finally:
                    connection.autocommit = True
        except psycopg.Error as error:
            return type(error)
        return "done"

    def _savepoint(self, verb: str) -> None:
        try:
            self.connection.execute(f"{verb} {self.open[-1]}")
        except BaseException:
            self.open.pop()
            raise


def rows_of(connection: Any) -> Any:
    """Return all authors."""
    return connection.execute(ROWS).fetchall()


@pytest.fixture
def real(options: dict[str, Any]) -> Iterator[Callable[[], list[Session]]]:
    """Return a function that returns as many real sessions as there are virtual ones."""
    connections = [psycopg.connect(**options) for _ in range(SESSIONS)]
    yield lambda: [Session(connection) for connection in connections]
    for connection in connections:
        connection.close()


def restore(sessions: list[Session], plain: psycopg.Connection[Any]) -> None:
    """Undo what real sessions have committed."""
    for session in sessions:
        session.do("rollback", "")
        session.connection.rollback()
    plain.execute("DELETE FROM author; SELECT setval('author_id_seq', 1, false)")


overlapping = st.lists(
    st.tuples(
        st.integers(0, SESSIONS - 1),
        st.sampled_from(
            [*sorted(STATEMENTS.keys() - MODEL["DEFERRED"]), *MODEL["FRAMES"], "begin", "insert"]
        ),
        st.sampled_from("ab"),
    ),
    min_size=10,
    max_size=40,
)


@ordinary
@given(program=overlapping)
def test_sessions_of_one_thread(
    program: list[tuple[int, str, str]],
    world: World,
    real: Callable[[], list[Session]],
    plain: psycopg.Connection[Any],
    witness: Callable[[], dict[str, Any]],
) -> None:
    """Overlapping sessions get production's results and rows, or the one conflict there is."""
    template = witness()
    world.begin("the model")
    virtual = [Session(world.connect()) for _ in range(SESSIONS)]
    oracle = MODEL["Oracle"]()
    outcomes: list[Any] = []
    conflict = False
    try:
        for number, action, name in program:
            try:
                outcome = virtual[number].do(action, f"{number}{name}")
            except SandboxConflictError:
                assert oracle.may_conflict(number, action)
                conflict = True
                break
            oracle.took(number, action, outcome)
            outcomes.append(outcome)
        # What is still open has not been committed, and cannot always be taken away.
        still_open = conflict or any(each.open for each in virtual)
        kept = None if still_open else rows_of(world.connect())
        assert conflict == (world.sandbox.failure is not None)
    finally:
        world.end()
    event("conflict" if conflict else "no conflict")
    assert witness() == template
    if not conflict:
        expected = real()
        try:
            assert outcomes == [
                expected[number].do(action, f"{number}{name}") for number, action, name in program
            ]
            if kept is not None:
                assert kept == rows_of(plain)
        finally:
            restore(expected, plain)


@ordinary
@given(programs=st.lists(MODEL["transactions"], min_size=2, max_size=SESSIONS))
def test_sessions_of_many_threads(
    programs: list[list[tuple[list[tuple[str, str]], str]]],
    world: World,
    real: Callable[[], list[Session]],
    plain: psycopg.Connection[Any],
    witness: Callable[[], dict[str, Any]],
) -> None:
    """Threads that write take turns: what they did is what some serial order of them does."""
    template = witness()
    world.begin("the model")
    ends: list[Any] = []
    """Transactions, in the order in which they ended."""
    done: list[tuple[Any, list[tuple[str, str]], str, list[Any]]] = []

    class Observed(_turns.Turns):
        """The turns of a wire, which note what ends on it."""

        def end(self, transaction: Transaction) -> None:
            ends.append(transaction)
            super().end(transaction)

    def work(program: list[tuple[list[tuple[str, str]], str]]) -> None:
        session = Session(world.connect())
        for steps, end in program:
            session.do("begin", "")
            # A read sees what other transactions have committed before its own wrote.
            outcomes = [session.do(*step) for step in steps if step[0] != "read"]
            transaction = session.connection.current
            outcomes.append(session.do(end, ""))
            done.append((transaction, steps, end, outcomes))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("db_testing._sandbox._wire.Turns", Observed)
        world.connect().execute("SELECT 1")
        live = world.sandbox._wires.current
        assert live is not None
        patch.setattr(live.turns, "__class__", Observed)
        threads = [world.run(lambda program=program: work(program)) for program in programs]  # type: ignore[misc]
        for thread in threads:
            thread.join(60)
        kept = rows_of(world.connect())
        assert world.sandbox.failure is None
        world.end()
    done = [each for each in done if each[0] is not None]
    done.sort(key=lambda each: ends.index(each[0]))
    expected = real()
    try:
        for _, steps, end, outcomes in done:
            expected[0].do("begin", "")
            actual = [expected[0].do(*step) for step in steps if step[0] != "read"]
            actual.append(expected[0].do(end, ""))
            assert outcomes == actual
        assert kept == rows_of(plain)
    finally:
        restore(expected, plain)
    assert witness() == template
