"""Importing a file: rows are staged by COPY, batch by batch, then merged in one statement."""

from collections.abc import Iterator
from itertools import count, islice

from sqlalchemy import case, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.concurrency import run_in_threadpool

from backend.database import copy_rows
from backend.statements.lines import ParsedLine
from backend.statements.models import StagedStatementLine, StatementImport, StatementLine
from backend.tables import BadRow, BadRows

_BATCH = 2000
_COLUMNS = ("import_id", "position", "line", "date", "amount", "description", "reference")


async def stage(
    session: AsyncSession,
    import_: StatementImport,
    rows: Iterator[ParsedLine | BadRow],
    bad_rows: BadRows,
) -> int:
    """Copy the good rows into the staging table and return how many they are.

    Only one batch is in memory. It is parsed in a thread, so that others are served meanwhile.
    """
    positions = count()
    staged = 0
    while batch := await run_in_threadpool(lambda: list(islice(rows, _BATCH))):
        good = [row for row in batch if isinstance(row, ParsedLine)]
        for row in batch:
            if isinstance(row, BadRow):
                bad_rows.add(row)
        records = [
            (
                import_.id,
                next(positions),
                row.line,
                row.date,
                row.amount,
                row.description,
                row.reference,
            )
            for row in good
        ]
        await copy_rows(session, StagedStatementLine.__tablename__, _COLUMNS, records)
        staged += len(records)
    return staged


async def merge(session: AsyncSession, import_: StatementImport) -> int:
    """Move staged rows to the statement, but for those known already; return how many moved.

    A row without a reference is known by what it says. Two such rows of one file are two
    movements (two coffees on one day), so they are numbered; the same two rows in a later file get
    the same numbers. That holds as long as files do not begin or end within a day.
    """
    staged = StagedStatementLine
    same = (staged.date, staged.amount, staged.description)
    number = func.row_number().over(
        partition_by=[*same, staged.reference], order_by=staged.position
    )
    content = func.concat_ws("|", *same)
    digest = func.encode(func.sha256(func.convert_to(content, "UTF8")), "hex")
    key = case(
        (staged.reference.is_not(None), literal("reference:") + staged.reference),
        else_=func.concat("content:", digest, ":", number),
    )
    rows = (
        select(
            literal(import_.bank_account_id),
            staged.import_id,
            staged.line,
            staged.date,
            staged.amount,
            staged.description,
            staged.reference,
            key,
        )
        .where(staged.import_id == import_.id)
        .order_by(staged.position)
    )
    target = StatementLine
    columns = [
        target.bank_account_id,
        target.import_id,
        target.line,
        target.date,
        target.amount,
        target.description,
        target.reference,
        target.key,
    ]
    statement = (
        insert(target)
        .from_select(columns, rows)
        .on_conflict_do_nothing(index_elements=[target.bank_account_id, target.key])
    )
    moved = await session.execute(statement.returning(target.id))
    number_moved = len(moved.all())
    await session.execute(delete(staged).where(staged.import_id == import_.id))
    return number_moved
