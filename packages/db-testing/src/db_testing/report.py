"""What a run says of itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Leak: TypeAlias = tuple[str, str]
"""A test, and what it has left behind."""

Kept: TypeAlias = tuple[str, str]
"""A test that has failed, and where its database is, or why it is not kept."""

LEAKS_SHOWN: Final = 10
"""Lines of the summary that name one leak each."""

REASONS_SHOWN: Final = 5
"""Lines of the summary that name a reason for new databases each."""

SQL_WIDTH: Final = 160
"""Characters of a statement that are shown in a line."""


def counted(number: int, kind: str = "") -> str:
    """Count tests, perhaps of a kind."""
    return f"{number} {kind}test" if number == 1 else f"{number} {kind}tests"


def one_line(sql: str, width: int = SQL_WIDTH) -> str:
    """Show the beginning of a statement."""
    text = " ".join(sql.split())
    return text if len(text) <= width else f"{text[:width]}..."


@dataclass(slots=True)
class Summary:
    """Figures of one test process, or of all of them together."""

    tests: int = 0
    """How many tests used the database."""
    seconds: float = 0.0
    """How long isolating them took, added over processes."""

    replaced: Counter[str] = field(default_factory=Counter)
    """How many tests of commit isolation took a new database, by the reason."""

    staying: set[str] = field(default_factory=set)
    """What of the whole server was made or changed while tests of commit isolation ran."""

    leaks: list[Leak] = field(default_factory=list)
    """What tests have left behind, in the order of the tests."""

    kept: list[Kept] = field(default_factory=list)
    """What has become of the databases of failed tests, in their order."""

    def kept_lines(self) -> list[str]:
        """Say where the databases of failed tests are, once also of a test that was run again."""
        kept = dict.fromkeys(self.kept)
        return [line for test, text in kept for line in f"{test}: {text}".splitlines()]

    def leak_lines(self) -> list[str]:
        """Say who has left what behind, one line each, up to a number of them."""
        lines = [f"{test}: {what}" for test, what in self.leaks[:LEAKS_SHOWN]]
        if self.leaks[LEAKS_SHOWN:]:
            lines.append(f"... and {len(self.leaks) - LEAKS_SHOWN} more")
        return lines

    def add(self, tests: int, seconds: float) -> None:
        """Add the figures of a database or of another process."""
        self.tests += tests
        self.seconds += seconds

    def unswept_lines(self) -> list[str]:
        """Say why tests of commit isolation could not be undone by a sweep, and what stays."""
        lines = [
            f"db-testing: a new database after tests under commit isolation ({number}): {reason}"
            for reason, number in self.replaced.most_common(REASONS_SHOWN)
        ]
        if self.staying:
            lines.append(
                f"db-testing: made or changed while tests under commit isolation ran, and staying: "
                f"{', '.join(sorted(self.staying))}. They belong to the whole server; another run "
                f"on it may have made them."
            )
        return lines

    def line(self) -> str | None:
        """Say it in one line; None when no test used the database."""
        if not self.tests:
            return None
        per_test = self.seconds / self.tests * 1000
        return (
            f"db-testing: {counted(self.tests, 'database ')}, {self.seconds:.2f} s in isolation, "
            f"{per_test:.2f} ms per test"
        )
