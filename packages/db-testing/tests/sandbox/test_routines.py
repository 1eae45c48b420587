"""What a database's own routines do is noticed where they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db_testing._sandbox._virtual import VirtualConnection
from db_testing._statements import _statements
from db_testing._statements._routines import Effect, Routines, _effects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

    from db_testing._sandbox._sandbox import Sandbox

FUNCTIONS = """
    CREATE SCHEMA routines;
    CREATE FUNCTION routines.grow() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        ALTER TABLE author ADD COLUMN more text DEFAULT 'more';
    END $$;
    CREATE FUNCTION routines.grow_by_another() RETURNS void LANGUAGE sql AS
        'SELECT routines.grow()';
"""


@pytest.fixture
async def functions(
    plain: asyncpg.Connection[asyncpg.Record], sandbox: Sandbox
) -> AsyncIterator[None]:
    """Define functions, before the sandbox reads the catalog."""
    await plain.execute(FUNCTIONS)
    sandbox.forget_catalog()
    yield
    await sandbox.end_test()
    await plain.execute("DROP SCHEMA routines CASCADE")


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize("name", ["grow", "grow_by_another"])
async def test_ddl(sandbox: Sandbox, connect: Callable[[], VirtualConnection], name: str) -> None:
    """A table that a function has altered is as before in the next test, to the driver too."""
    one = connect()
    await one.fetchval(f"SELECT routines.{name}()")
    await one.execute("INSERT INTO author (name, notes) VALUES ('a', '{}')")
    assert "more" in await one.fetchrow("SELECT * FROM author")
    await sandbox.end_test()
    sandbox.begin_test("the next test")
    two = VirtualConnection(sandbox)
    async with two.transaction():
        await two.execute("INSERT INTO author (name, notes) VALUES ('a', '{}')")
        assert "more" not in await two.fetchrow("SELECT * FROM author")


async def test_functions_of_extensions(plain: asyncpg.Connection[asyncpg.Record]) -> None:
    """One written in C may write if it is volatile, as those of pg_cron do; others only read."""
    async with plain.transaction():
        await plain.execute("CREATE EXTENSION pg_prewarm; CREATE EXTENSION pg_trgm")
        routines = await Routines.read(plain)
        await plain.execute("DROP EXTENSION pg_prewarm; DROP EXTENSION pg_trgm")
    assert not _statements.reads_only("SELECT pg_prewarm('author')", routines.writing)
    assert _statements.reads_only("SELECT similarity('a', 'b')", routines.writing)


def test_effects() -> None:
    """Routines of one name are one, calls are followed, and what has no effect is left out."""
    sources = [
        ("reads", "SELECT 1"),
        ("upserts", "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING"),
        ("tenant", "BEGIN PERFORM set_config('app.tenant', t, true); END"),
        ("tenant", "BEGIN SET LOCAL app.tenant = 1; SET LOCAL app.user = 1; END"),
        ("first", "SELECT second()"),
        ("second", 'SELECT first(), "Third" ()'),
        ("third", "SELECT tenant(), makes()"),
        ("makes", "BEGIN CREATE TEMP TABLE t (); END"),
        ("any_setting", "SELECT set_config(name, value, true) -- set_config('a', 'b', true)"),
    ]
    settings = frozenset({"app.tenant", "app.user"})
    assert _effects(sources) == {
        "tenant": Effect(settings=settings),
        "makes": Effect(changes_schema=True),
        "any_setting": Effect(untold_settings=True),
        **dict.fromkeys(
            ("first", "second", "third"), Effect(changes_schema=True, settings=settings)
        ),
    }
