"""The table of semantics: each row is a program, run on real connections and in the sandbox.

A row is its test: what the docs say of it is what the decorator proved. Run as a program, this
module writes the table to `docs/semantics.md`.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from db_testing.errors import SandboxError

if TYPE_CHECKING:
    from types import ModuleType

    from .conftest import World, Worlds

T = TypeVar("T")
Program: TypeAlias = "Callable[[World], Awaitable[object]]"
Test: TypeAlias = "Callable[[Worlds], Awaitable[None]]"

FOLDER: Final = Path(__file__).parent
DOCUMENT: Final = FOLDER.parents[3] / "docs" / "semantics.md"
BOUND: Final = 20.0
"""Seconds within which any program ends."""

INTRODUCTION: Final = """\
# What rollback isolation does to PostgreSQL's semantics

<!-- Written by packages/db-testing/tests/semantics/table.py, which says how. Do not edit. -->

Under rollback isolation the transactions of a test are savepoints of one outer transaction, on one
connection. This table says what that does to each semantic it touches. Every row is a test: the
same program ran on real connections and in the sandbox. A row says what production does.

- **same**: the program gives what it gives in production.
- **refused**: an error says what cannot be honoured, why, and which marker makes it work.
- **different**: the program gives something else than in production, for the reason given. Mark
  such a test with `@pytest.mark.db(isolation="commit")`, under which connections are real.
"""


@dataclass(frozen=True)
class Row:
    """One semantic."""

    title: str
    outcome: Literal["same", "refused", "different"]
    note: str


async def attempt(work: Awaitable[T]) -> T | str:
    """Return a result, or the name of the database's error."""
    try:
        return await work
    except (asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError) as error:
        return type(error).__name__


def same(*, gives: object, schema: str = "") -> Callable[[Program], Test]:
    """Prove that a program gives a value in both worlds. `schema` is SQL, there beforehand."""

    async def prove(run: Run) -> None:
        assert await run("sandbox") == gives, "in the sandbox"
        assert await run("production") == gives, "in production"

    return _row("same", "", schema, prove)


def different(
    *, gives: object, here: object, note: str, schema: str = ""
) -> Callable[[Program], Test]:
    """Prove that a program gives one value in production and another one here."""

    async def prove(run: Run) -> None:
        assert gives != here
        assert await run("sandbox") == here, "in the sandbox"
        assert await run("production") == gives, "in production"

    return _row("different", note, schema, prove)


def refused(
    *, gives: object, note: str, schema: str = "", error: str = "SandboxRefusedError"
) -> Callable[[Program], Test]:
    """Prove that a program works in production, and that here an error names the marker."""

    async def prove(run: Run) -> None:
        with pytest.raises(SandboxError, match=r'@pytest\.mark\.db\(isolation="') as caught:
            await run("sandbox")
        assert type(caught.value).__name__ == error
        assert await run("production") == gives, "in production"

    return _row("refused", note, schema, prove)


Run: TypeAlias = Callable[[Literal["sandbox", "production"]], Awaitable[object]]


def _row(
    outcome: Literal["same", "refused", "different"],
    note: str,
    schema: str,
    prove: Callable[[Run], Awaitable[None]],
) -> Callable[[Program], Test]:
    def decorate(program: Program) -> Test:
        async def test(worlds: Worlds) -> None:
            await worlds.prepare(schema)

            async def run(name: Literal["sandbox", "production"]) -> object:
                async with asyncio.timeout(BOUND), worlds.open(name) as world:
                    return await program(world)

            await prove(run)

        function: Any = test
        source: Any = program
        for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(function, attribute, getattr(source, attribute))
        function.row = Row((source.__doc__ or "").strip().removesuffix("."), outcome, note)
        function.pytestmark = getattr(program, "pytestmark", [])
        return test

    return decorate


def modules() -> list[ModuleType]:
    """Import the areas: every module of tests in this folder that has a title."""
    found = []
    for path in sorted(FOLDER.glob("test_*.py")):
        module = importlib.import_module(f".{path.stem}", __package__)
        if hasattr(module, "AREA"):
            found.append(module)
    return found


def rows(module: ModuleType) -> list[Row]:
    """Return an area's rows; a test that is none is a mistake."""
    tests = {name: value for name, value in vars(module).items() if name.startswith("test_")}
    assert all(hasattr(test, "row") for test in tests.values()), tests
    return [test.row for test in tests.values()]


def render() -> str:
    """Write the table."""
    parts = [INTRODUCTION]
    for module in modules():
        parts.append(f"## {module.AREA}\n\n| program | here | why |\n|---|---|---|\n")
        parts += [f"| {row.title} | {row.outcome} | {row.note} |\n" for row in rows(module)]
    return "\n".join(parts[:1]) + "".join(
        ("\n" if part.startswith("##") else "") + part for part in parts[1:]
    )


def write() -> None:
    """Write the document."""
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parent))
    importlib.import_module("semantics.table").write()
