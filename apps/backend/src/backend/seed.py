"""A demo company to look around in: `python -m backend.seed`, on a database with its migrations.

The services write it, so it keeps every rule of the books. A second time it changes nothing.
"""

import asyncio
import datetime as dt
import io
import sys
from collections.abc import Mapping
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.accounts.schemas import AccountIn
from backend.accounts.service import AccountType, Activity
from backend.database import create_engine, create_sessionmaker
from backend.journal import service as journal_service
from backend.journal.service import EntryIn, LineIn, Side
from backend.rates import service as rates_service
from backend.rates.schemas import RateIn
from backend.reconciliation import finding
from backend.reconciliation.schemas import ProposalIn
from backend.settings import Settings
from backend.statements import service as statements_service
from backend.statements.schemas import BankAccountIn, CsvColumns, CsvFormat
from backend.uploads import Upload
from backend.users import service as users_service
from backend.users.credentials import Credentials
from backend.users.errors import EmailTakenError
from backend.users.schemas import UserCreate
from backend.users.service import Book
from backend.versions import ANY_VERSION

EMAIL = "demo@example.com"
PASSWORD = "open to everybody"  # noqa: S105 - it is printed, and guards nothing

_A, _L = AccountType.ASSET, AccountType.LIABILITY
_Q, _I, _E = AccountType.EQUITY, AccountType.INCOME, AccountType.EXPENSE

# By code: name, type, currency, the code of the parent, and the activity when it is not the usual.
_CHART: Mapping[str, tuple[str, AccountType, str, str | None, Activity | None]] = {
    "1000": ("Current assets", _A, "EUR", None, None),
    "1100": ("Giro account", _A, "EUR", "1000", Activity.CASH),
    "1110": ("Dollar account", _A, "USD", "1000", Activity.CASH),
    "1190": ("Valuation of foreign currencies", _A, "EUR", "1000", Activity.CASH),
    "1200": ("Receivables", _A, "EUR", "1000", None),
    "1500": ("Equipment", _A, "EUR", None, Activity.INVESTING),
    "2000": ("Bank loan", _L, "EUR", None, Activity.FINANCING),
    "3000": ("Capital", _Q, "EUR", None, None),
    "4000": ("Sales", _I, "EUR", None, None),
    "4900": ("Gains of exchange rates", _I, "EUR", None, Activity.EXCHANGE),
    "5000": ("Rent", _E, "EUR", None, None),
    "5100": ("Bank charges", _E, "EUR", None, None),
    "5900": ("Losses of exchange rates", _E, "EUR", None, Activity.EXCHANGE),
}

# Day, text, debit, credit, euros; what is bought in dollars has their amount and rate as well.
_ENTRIES: list[tuple[str, str, str, str, str, tuple[str, str] | None]] = [
    ("2026-01-02", "Capital paid in", "1100", "3000", "25000.00", None),
    ("2026-01-05", "Loan paid out", "1100", "2000", "10000.00", None),
    ("2026-01-12", "Workshop machine, Bolt & Sons", "1500", "1100", "8000.00", None),
    ("2026-01-20", "Invoice 1, Acme", "1200", "4000", "3200.00", None),
    ("2026-01-31", "Rent January", "5000", "1100", "1200.00", None),
    ("2026-02-09", "Invoice 1 paid, Acme", "1100", "1200", "3200.00", None),
    ("2026-02-16", "Dollars for the fair", "1110", "1100", "1840.00", ("2000.00", "0.92")),
    ("2026-02-28", "Rent February", "5000", "1100", "1200.00", None),
]

_STATEMENT = """Date,Amount,Payee,Text
2026-01-02,25000.00,Ada Byron,Capital
2026-01-06,10000.00,Savings Bank,Loan paid out
2026-01-13,-8000.00,Bolt & Sons,Machine
2026-01-31,-1200.00,Landlord,Rent January
2026-02-10,3200.00,Acme,Invoice 1
2026-02-16,-1840.00,Savings Bank,USD 2000.00 at 0.92
2026-02-27,-1200.00,Landlord,Rent February
2026-02-28,-9.90,Savings Bank,Account charges
"""

_RATES = {"2026-01-02": "0.91", "2026-01-30": "0.92", "2026-02-27": "0.95"}


async def seed(session: AsyncSession, credentials: Credentials) -> Book:
    """Write the company; raises `EmailTakenError` when it is there already."""
    data = UserCreate.model_validate(
        {
            "email": EMAIL,
            "name": "Analytical Engines Ltd",
            "base_currency": "EUR",
            "password": PASSWORD,
        }
    )
    user = await users_service.register(session, credentials, data)
    book = Book(owner_id=user.id, base_currency=user.base_currency)
    await rates_service.store(session, book, _rates())
    ids = await _open_chart(session, book)
    await _post_entries(session, book, ids)
    await _import_statement(session, book, ids["1100"])
    return book


def _rates() -> list[RateIn]:
    return [
        RateIn(date=dt.date.fromisoformat(day), base="USD", quote="EUR", rate=Decimal(rate))
        for day, rate in _RATES.items()
    ]


async def _open_chart(session: AsyncSession, book: Book) -> Mapping[str, int]:
    ids: dict[str, int] = {}
    for code, (name, type_, currency, parent, activity) in _CHART.items():
        given = {} if activity is None else {"activity": activity}
        data = AccountIn(
            code=code,
            name=name,
            type=type_,
            currency=currency,
            parent_id=None if parent is None else ids[parent],
            **given,
        )
        ids[code] = (await accounts_service.create(session, book, data)).id
    return ids


async def _post_entries(session: AsyncSession, book: Book, ids: Mapping[str, int]) -> None:
    for day, description, debit, credit, euros, foreign in _ENTRIES:
        amount, rate = foreign or (euros, None)
        lines = [
            LineIn(
                account_id=ids[debit],
                side=Side.DEBIT,
                amount=Decimal(amount),
                rate=None if rate is None else Decimal(rate),
            ),
            LineIn(account_id=ids[credit], side=Side.CREDIT, amount=Decimal(euros)),
        ]
        data = EntryIn(date=dt.date.fromisoformat(day), description=description, lines=lines)
        entry = await journal_service.create_draft(session, book, data)
        await journal_service.post(session, book, entry.id, ANY_VERSION)


async def _import_statement(session: AsyncSession, book: Book, account_id: int) -> None:
    columns = CsvColumns(date="Date", amount="Amount", description=["Payee", "Text"])
    data = BankAccountIn(
        account_id=account_id, name="Savings Bank", csv_format=CsvFormat(columns=columns)
    )
    bank_account = await statements_service.create(session, book, data)
    upload = Upload("text/csv", io.BytesIO(_STATEMENT.encode()))
    await statements_service.import_file(session, book, bank_account.id, upload, "reject")
    days = ProposalIn(date_from=dt.date(2026, 1, 1), date_to=dt.date(2026, 2, 28))
    await finding.suggest(session, book, bank_account.id, days)


async def run(settings: Settings) -> str:
    """Write the demo company, unless it is there; return what to tell whoever asked for it."""
    engine = create_engine(settings)
    try:
        async with create_sessionmaker(engine).begin() as session:
            await seed(session, Credentials.from_settings(settings))
    except EmailTakenError:
        return f"The demo company of {EMAIL} is there already."
    finally:
        await engine.dispose()
    return f"Wrote the demo company: sign in as {EMAIL} with the password {PASSWORD!r}."


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(run(Settings())) + "\n")
