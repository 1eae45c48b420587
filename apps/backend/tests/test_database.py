"""Constraints that are violated become problems, if they were foreseen."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.database import translated
from backend.users.errors import EmailTakenError

INSERT = text(
    "INSERT INTO users (email, name, base_currency, password_hash)"
    " VALUES ('ada@example.com', 'Ada', 'EUR', :hash)"
)


async def test_a_foreseen_violation_is_raised_as_its_problem(db: AsyncSession) -> None:
    """The problem is picked by the name of the constraint, and keeps its cause."""
    await db.execute(INSERT, {"hash": "!"})
    problem = EmailTakenError("taken")

    with pytest.raises(EmailTakenError) as error, translated({"uq_users_email": problem}):
        await db.execute(INSERT, {"hash": "!"})

    assert isinstance(error.value.__cause__, IntegrityError)


async def test_an_unforeseen_violation_stays_what_it_is(db: AsyncSession) -> None:
    """A problem that says something else about the error would mislead."""
    problem = EmailTakenError("taken")

    with (
        pytest.raises(IntegrityError, match="password_hash"),
        translated({"uq_users_email": problem}),
    ):
        await db.execute(INSERT, {"hash": None})
