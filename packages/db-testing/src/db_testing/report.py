"""What a run says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Summary:
    """Figures of one test process, or of all of them together."""

    tests: int = 0
    """How many tests used the database."""
    seconds: float = 0.0
    """How long isolating them took, added over processes."""

    def add(self, tests: int, seconds: float) -> None:
        """Add the figures of a database or of another process."""
        self.tests += tests
        self.seconds += seconds

    def line(self) -> str | None:
        """Say it in one line; None when no test used the database."""
        if not self.tests:
            return None
        noun = "test" if self.tests == 1 else "tests"
        per_test = self.seconds / self.tests * 1000
        return (
            f"db-testing: {self.tests} database {noun}, {self.seconds:.2f} s in isolation, "
            f"{per_test:.2f} ms per test"
        )
