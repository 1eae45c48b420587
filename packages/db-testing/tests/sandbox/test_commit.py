"""A simulated commit checks what a commit checks (invariant 2), and ends what a commit ends."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db_testing._statements._catalog import Deferrable
from db_testing.errors import SandboxConflictError, SandboxRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from db_testing._sandbox._sandbox import Sandbox
    from db_testing._sandbox._virtual import VirtualConnection

    Connect = Callable[[], VirtualConnection]

INSERT = "INSERT INTO author (name, notes) VALUES ($1, '{}')"
ORPHAN = "INSERT INTO author (name, notes, editor_id) VALUES ($1, '{}', 99)"
NAMES = "SELECT array_agg(name ORDER BY name) FROM author"


async def test_a_deferred_constraint_is_checked(connect: Connect) -> None:
    """The violation is raised by the commit, not before, and the transaction is undone."""
    connection = connect()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(ORPHAN, "a")
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="author_editor_id_fkey"):
        await transaction.commit()
    assert not connection.is_in_transaction()
    assert await connection.fetchval(NAMES) is None


async def test_a_deferred_constraint_is_checked_for_a_statement_alone(connect: Connect) -> None:
    """A statement in autocommit is its own commit."""
    connection = connect()
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await connection.execute(ORPHAN, "a")
    await connection.execute(INSERT, "b")
    assert await connection.fetchval(NAMES) == ["b"]


async def test_a_deferred_constraint_waits_for_the_commit(connect: Connect) -> None:
    """A row may refer to one that comes later, also across savepoints."""
    connection = connect()
    async with connection.transaction():
        async with connection.transaction():
            await connection.execute(ORPHAN, "a")
        await connection.execute("INSERT INTO author (id, name, notes) VALUES (99, 'b', '{}')")
    assert await connection.fetchval(NAMES) == ["a", "b"]


async def test_the_initial_mode_comes_back(connect: Connect) -> None:
    """After a commit, and after SET CONSTRAINTS in an ended transaction, constraints wait again."""
    connection = connect()
    for _ in range(2):
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(ORPHAN, "a")
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        await transaction.rollback()
        async with connection.transaction():
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


async def test_a_mode_outlives_anothers_commit(connect: Connect) -> None:
    """What SET CONSTRAINTS has set holds until its own transaction ends, or its savepoint."""
    one, other = connect(), connect()
    async with one.transaction():
        async with one.transaction():
            await one.execute("SET CONSTRAINTS ALL IMMEDIATE")
        await other.execute(INSERT, "b")
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with one.transaction():
                await one.execute(ORPHAN, "a")
        savepoint = one.transaction()
        await savepoint.start()
        await one.execute("SET CONSTRAINTS ALL DEFERRED")
        await one.execute(ORPHAN, "a")
        await savepoint.rollback()
        await other.execute(INSERT, "c")
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with one.transaction():
                await one.execute(ORPHAN, "a")
        savepoint = one.transaction()
        await savepoint.start()
        with pytest.raises(asyncpg.UndefinedObjectError):
            await one.execute("SET CONSTRAINTS nothing IMMEDIATE")
        await other.execute(INSERT, "d")
        await savepoint.rollback()
    assert await one.fetchval(NAMES) == ["b", "c", "d"]


async def test_a_commit_beneath_another_writer(connect: Connect) -> None:
    """The check itself writes nothing: a transaction above may still roll back."""
    lower, upper = connect(), connect()
    await lower.transaction().start()
    await lower.execute(INSERT, "a")
    await upper.transaction().start()
    await upper.execute(INSERT, "b")
    await lower.end(keep=True)
    await upper.end(keep=False)
    assert await lower.fetchval(NAMES) == ["a"]


async def test_a_violation_that_may_be_another_transactions(connect: Connect) -> None:
    """Pending checks of overlapping transactions cannot be told apart, and this is said."""
    violator, innocent = connect(), connect()
    await violator.transaction().start()
    await violator.execute(ORPHAN, "a")
    with pytest.raises(SandboxConflictError, match="the violation may be of the transaction begun"):
        await innocent.execute(INSERT, "b")
    await violator.execute("INSERT INTO author (id, name, notes) VALUES (99, 'c', '{}')")
    await violator.end(keep=True)
    assert await innocent.fetchval(NAMES) == ["a", "c"]


async def test_through_sqlalchemy(sessions: async_sessionmaker[AsyncSession]) -> None:
    """A session's commit raises IntegrityError, and the session goes on after its rollback."""
    async with sessions() as session:
        await session.execute(text(ORPHAN.replace("$1", "'a'")))
        with pytest.raises(IntegrityError, match="author_editor_id_fkey"):
            await session.commit()
        await session.rollback()
        await session.execute(text(INSERT.replace("$1", "'b'")))
        await session.commit()
        assert (await session.execute(text(NAMES))).scalar_one() == ["b"]


async def test_tables_with_deferrable_constraints_are_dropped(connect: Connect) -> None:
    """A commit does not stumble over constraints that the test has dropped."""
    connection = connect()
    await connection.execute("DROP TABLE book; DROP TABLE author")
    assert await connection.fetchval("SELECT to_regclass('author')") is None


async def test_constraints_that_the_test_has_made(connect: Connect) -> None:
    """New deferrable constraints are checked at commits, whatever their initial mode."""
    connection = connect()
    await connection.execute(
        "CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY IMMEDIATE,"
        " b int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("INSERT INTO t VALUES (1, 1), (2, 1)")
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1, 1), (2, 2)")
    transaction = connection.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.UniqueViolationError, match="t_a_key"):
        await connection.execute("INSERT INTO t VALUES (1, 3)")
    await transaction.rollback()


async def test_names_that_two_constraints_share(connect: Connect) -> None:
    """A constraint that cannot be deferred may have the name of one that can."""
    connection = connect()
    await connection.execute(
        "CREATE TABLE t (a int CONSTRAINT same REFERENCES author DEFERRABLE INITIALLY DEFERRED);"
        "CREATE TABLE u (a int CONSTRAINT same REFERENCES author)"
    )
    await connection.execute(INSERT, "a")
    assert await connection.fetchval(NAMES) == ["a"]


@pytest.fixture
async def trigger(connect: Connect) -> None:
    """Let a deferred constraint trigger write a book for each author."""
    await connect().execute(
        """
        CREATE FUNCTION write_book() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.name = 'bad' THEN RAISE EXCEPTION 'no such author'; END IF;
            INSERT INTO book (author_id, title) VALUES (NEW.id, 'first');
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER book AFTER INSERT ON author DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION write_book()
        """
    )


async def test_deferred_triggers_run_at_the_commit(connect: Connect, trigger: None) -> None:
    """Constraint triggers see the commit, and what they write is kept."""
    connection = connect()
    async with connection.transaction():
        await connection.execute(INSERT, "a")
        assert await connection.fetchval("SELECT count(*) FROM book") == 0
    assert await connection.fetchval("SELECT count(*) FROM book") == 1


async def test_deferred_triggers_refuse_the_commit(connect: Connect, trigger: None) -> None:
    """An exception in one is the commit's."""
    connection = connect()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(INSERT, "bad")
    with pytest.raises(asyncpg.RaiseError, match="no such author"):
        await transaction.commit()
    assert await connection.fetchval(NAMES) is None


async def test_what_deferred_triggers_wrote_is_not_taken_away(
    connect: Connect, trigger: None
) -> None:
    """A commit that wrote above another writer stands in the way of that one's rollback."""
    lower, upper = connect(), connect()
    await lower.transaction().start()
    await lower.execute(INSERT, "a")
    await upper.transaction().start()
    await upper.fetchval("INSERT INTO book (author_id, title) VALUES (1, 'other') RETURNING id")
    await lower.end(keep=True)
    with pytest.raises(SandboxConflictError, match="has written since"):
        await upper.end(keep=False)


async def test_whether_a_check_may_write(connect: Connect, trigger: None) -> None:
    """Only a check that runs triggers may write."""

    async def may_write() -> bool:
        deferrable: Deferrable = await connect().run("SELECT", Deferrable.read)
        assert deferrable.check is not None
        return deferrable.writes

    assert await may_write()
    await connect().execute("DROP TRIGGER book ON author")
    assert not await may_write()
    await connect().execute("DROP TABLE book; DROP TABLE author")
    nothing: Deferrable = await connect().run("SELECT", Deferrable.read)
    assert nothing.check is None


async def test_a_local_role_ends_with_its_transaction(connect: Connect) -> None:
    """SET LOCAL ROLE, as row-level security uses it, is over after the commit."""
    connection = connect()
    role = f"sandbox_{uuid.uuid4().hex}"
    await connection.execute(f"CREATE ROLE {role}; GRANT SELECT ON author TO {role}")
    async with connection.transaction():
        await connection.execute(f"SET LOCAL ROLE {role}")
        assert await connection.fetchval("SELECT current_user") == role
        await connection.fetchval(NAMES)
    assert await connection.fetchval("SELECT current_user") != role
    await connection.execute(INSERT, "a")


async def test_a_local_role_does_not_forbid_the_commit(connect: Connect) -> None:
    """What only a superuser may put back is put back, and a temporary table dropped."""
    connection = connect()
    role = f"sandbox_{uuid.uuid4().hex}"
    await connection.execute(f"CREATE ROLE {role}")
    async with connection.transaction():
        await connection.execute("CREATE TEMP TABLE t () ON COMMIT DROP")
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(f"SET LOCAL ROLE {role}")
    assert await connection.fetchval("SHOW session_replication_role") == "origin"
    assert await connection.fetchval("SELECT to_regclass('t')") is None


TENANT = "SELECT current_setting('app.tenant', true)"


async def test_settings_of_two_transactions(connect: Connect) -> None:
    """A commit does not put back what another has set since: that is a conflict."""
    one, two = connect(), connect()
    first, second = one.transaction(), two.transaction()
    await first.start()
    await one.execute("SET LOCAL app.tenant = '1'")
    await second.start()
    await two.execute("SET LOCAL app.tenant = '2'")
    with pytest.raises(SandboxConflictError, match=r"has set app\.tenant since"):
        await first.commit()


async def test_settings_that_a_trigger_might_make(sandbox: Sandbox, connect: Connect) -> None:
    """Where none has, transactions that overlap commit in any order."""
    await connect().execute(
        "CREATE FUNCTION sets() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF false THEN SET LOCAL app.tenant = '1'; END IF; RETURN NEW; END $$"
    )
    one, two = connect(), connect()
    first, second = one.transaction(), two.transaction()
    await first.start()
    await one.execute(INSERT, "a")
    await second.start()
    await two.execute(INSERT, "b")
    await two.execute("SET LOCAL app.tenant = '2'")
    await first.commit()
    assert await two.fetchval(TENANT) == "2"
    await second.commit()
    assert not await two.fetchval(TENANT)
    assert sandbox.failure is None


async def test_settings_of_a_transaction_inside(connect: Connect) -> None:
    """One that ends first puts back what the other has set."""
    one, two = connect(), connect()
    async with one.transaction():
        await one.execute("SET LOCAL app.tenant = '1'")
        async with two.transaction():
            await two.execute("SET LOCAL app.tenant = '2'")
        assert await one.fetchval(TENANT) == "1"
    assert not await one.fetchval(TENANT)


async def test_setting_in_a_savepoint_that_was_undone(connect: Connect) -> None:
    """What SET has set there is undone with it, so that SET LOCAL before it ends as ever."""
    connection = connect()
    await connection.execute("SET app.tenant = '0'")
    async with connection.transaction():
        await connection.execute("SET LOCAL app.tenant = '1'")
        inner = connection.transaction()
        await inner.start()
        await connection.execute("SET app.tenant = '2'")
        await inner.rollback()
    assert await connection.fetchval(TENANT) == "0"


async def test_setting_of_a_transaction_that_became_read_only(connect: Connect) -> None:
    """That its commit has put it back is not undone with what else it read."""
    connection, other = connect(), connect()
    async with connection.transaction():
        await connection.execute("SET LOCAL app.tenant = '1'")
        await connection.execute("SET TRANSACTION READ ONLY")
        assert await connection.fetchval(TENANT) == "1"
    async with other.transaction():
        assert not await other.fetchval(TENANT)


async def test_reset_after_a_local_setting(connect: Connect) -> None:
    """RESET outlives its transaction, as SET does."""
    connection = connect()
    await connection.execute("SET work_mem = '5MB'")
    async with connection.transaction():
        await connection.execute("SET LOCAL work_mem = '6MB'")
        await connection.execute("RESET work_mem")
    assert await connection.fetchval("SHOW work_mem") == "4MB"


async def test_settings_of_many_arguments(connect: Connect) -> None:
    """set_config() that is run with many arguments sets many for its transaction."""
    connection = connect()
    async with connection.transaction():
        await connection.executemany(
            "SELECT set_config($1, $2, true)", iter([("app.tenant", "1"), ("app.user", "2")])
        )
        assert await connection.fetchval("SELECT current_setting('app.user')") == "2"
    assert not await connection.fetchval(TENANT)
    assert not await connection.fetchval("SELECT current_setting('app.user', true)")


async def test_setting_of_a_computed_name(connect: Connect) -> None:
    """What no commit could put back is refused."""
    connection = connect()
    with pytest.raises(SandboxRefusedError, match="its text does not tell what"):
        await connection.execute("SELECT set_config('app.' || $1, '1', true)", "tenant")


async def test_script_that_begins_with_a_query(connect: Connect) -> None:
    """It is undone by a rollback like any other that writes."""
    connection = connect()
    await connection.execute(INSERT, "a")
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT 1; TRUNCATE author CASCADE")
    await transaction.rollback()
    assert await connection.fetchval(NAMES) == ["a"]
