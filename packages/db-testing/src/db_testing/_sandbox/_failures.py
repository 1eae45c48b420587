"""What the sandbox could not do for a test: its own errors, which name what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from .._origin import caller
from .._statements._statement_text import shorten
from ..errors import SandboxError, SandboxLoopError, SandboxLostError, SandboxRefusedError
from ._transaction import NO_TEST

if TYPE_CHECKING:
    from ._transaction import Transaction

E = TypeVar("E", bound=SandboxError)

MARKER: Final = '@pytest.mark.db(isolation="commit")'


class Failures:
    """The sandbox's errors in the running test, of which its code may swallow any."""

    def __init__(self) -> None:
        """Wait for a test."""
        self.test: str | None = None
        """The running test."""
        self.first: SandboxError | None = None
        """The error to report; kept until the next test begins."""
        self.broken: SandboxError | None = None
        """The error after which the test's data can no longer be trusted."""
        self.refusal: SandboxRefusedError | None = None
        """The first refusal, which the test may have met on purpose."""
        self.committed = False
        """Whether something of the test was really committed, so that no reset can undo it."""

    def begin(self, test: str) -> None:
        """Let what follows be of the named test."""
        self.test = test
        self.first = self.broken = self.refusal = None
        self.committed = False

    @property
    def _user(self) -> str:
        return self.test or "what ran while no test did"

    def test_of(self, transaction: Transaction) -> str | None:
        """Name the test to which a transaction belongs: another may run by now."""
        return self.test if transaction.test is NO_TEST else transaction.test

    def blame(self, transaction: Transaction, error: E) -> E:
        """Remember an error of a transaction, unless its test has ended."""
        return self.note(error) if self.test_of(transaction) == self.test else error

    def note(self, error: E, *, broken: bool = False) -> E:
        """Remember an error; when `broken`, the test can only end."""
        if broken and self.broken is None:
            self.first = self.broken = error
        elif self.first is None:
            self.first = error
        return error

    def refused(self, what: str, why: str) -> SandboxRefusedError:
        """Build the error for something that rollback isolation cannot honour."""
        if self.test is None:
            error = SandboxRefusedError(
                f"{shorten(what)!r} at {caller()}, while no test was running, {why}. Rollback "
                f"isolation refuses what it cannot honour, also to fixtures of class, module, "
                f"package or session scope. Do it in a function-scoped fixture, and add {MARKER} "
                f"to the tests that use it."
            )
        else:
            error = SandboxRefusedError(
                f"{shorten(what)!r} at {caller()} {why}. Rollback isolation refuses what it cannot "
                f"honour; add {MARKER} to {self.test}."
            )
        self.refusal = self.refusal or error
        return error

    def outside_of_tests(self, sql: str) -> SandboxRefusedError:
        """Build the error for a write while no test was running."""
        return SandboxRefusedError(
            f"{shorten(sql)!r} at {caller()} ran while no test was running, or on a connection "
            f"opened then, probably by a fixture of class, module, package or session scope. Its "
            f"effect would vanish "
            f"with the first test. Write rows for many tests inside `async with db_layer() as "
            f"session` in an async fixture (synchronous tests begin with them too), or in the "
            f"schema's seed=, and others in a function-scoped fixture."
        )

    def two_loops(self) -> SandboxLoopError:
        """Note that a second event loop wants the wire, which lives on the first."""
        test = self._user
        return self.note(
            SandboxLoopError(
                f"{test} used the database from two event loops, the second time at "
                f"{caller()}. Under rollback isolation a test's transaction lives on one "
                f"connection, and a connection on one loop. Starlette's TestClient has a loop "
                f"of its own, each time, and so has Litestar's AsyncTestClient: in an `async def` "
                f"test use httpx.AsyncClient(transport=ASGITransport(app)), in a plain test a "
                f"single `with TestClient(app)` and nothing else that uses the database. Fixtures "
                f"share the test's loop by pytest-asyncio's loop_scope. Or add {MARKER} to the "
                f"test."
            )
        )

    def lost(self, interrupted: str | None = None) -> SandboxLostError:
        """Note that the wire has been closed: by the server, or after an interruption."""
        test = self._user
        if interrupted is None:
            lost = SandboxLostError(
                f"the server closed the connection that held the transaction of {test}, "
                f"noticed at {caller()}. Everything the test had written is gone. If the test "
                f"terminates backends on purpose, add {MARKER} to it."
            )
        else:
            lost = SandboxLostError(
                f"{interrupted} was cancelled a second time before the server had ended it, which "
                f"closed the connection that held the transaction of {test}; noticed at "
                f"{caller()}. Everything the test had written is gone. Await what you cancel."
            )
        return self.note(lost, broken=True)

    def escaped(self, sql: str) -> SandboxRefusedError:
        """Note that a statement has ended the outer transaction, by a commit for all one knows."""
        self.committed = True
        return self.note(
            SandboxRefusedError(
                f"{shorten(sql)!r} at {caller()} ended the test's outer transaction: what the "
                f"test wrote is really committed. Add {MARKER} to {self.test}."
            ),
            broken=True,
        )
