"""What holds for every ledger, whatever is in it."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.journal import service as journal_service
from backend.journal.service import EntryIn, LineIn, Side
from backend.money import convert
from backend.rates import service as rates_service
from backend.rates.schemas import RateIn
from backend.reports.balance_sheet import balance_sheet
from backend.reports.cash_flow import cash_flow
from backend.reports.income_statement import income_statement
from backend.reports.schemas import (
    BalanceSheetQuery,
    CashFlow,
    IncomeStatement,
    Period,
    PeriodsQuery,
    TrialBalanceQuery,
)
from backend.reports.service import trial_balance
from backend.revaluation import service as revaluation_service
from backend.revaluation.schemas import RevaluationIn
from backend.users.service import Book
from backend.versions import ANY_VERSION

Entry = tuple[dt.date, list[tuple[str, Side, Decimal]], str]
Layer = Callable[[], Any]

FIRST, LAST = dt.date(2026, 1, 1), dt.date(2026, 3, 31)
DOLLAR = Decimal("0.92")

AMOUNTS = st.decimals("0.01", "9999.99", places=2)
LEGS = st.tuples(
    st.sampled_from(["bank", "dollars", "receivables", "loan", "capital", "sales", "rent"]),
    st.sampled_from(Side),
    AMOUNTS,
)
# The last account takes what is missing to balance.
ENTRIES = st.tuples(
    st.dates(FIRST, LAST),
    st.lists(LEGS, min_size=1, max_size=3),
    st.sampled_from(["bank", "receivables", "capital", "sales", "rent"]),
)
LEDGERS = st.lists(ENTRIES, max_size=5)
DAYS = st.dates(FIRST, LAST)

# The fixtures hold nothing between examples: `db_layer` undoes what each writes.
ledgers = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _net(line: LineIn, currency: str) -> Decimal:
    base = convert(line.amount, line.rate or Decimal(1), currency)
    return base if line.side is Side.DEBIT else -base


async def _post(
    session: AsyncSession, book: Book, ids: Mapping[str, int], entries: Sequence[Entry]
) -> None:
    for date, legs, balancing in entries:
        lines = [
            LineIn(
                account_id=ids[code],
                side=side,
                amount=amount,
                rate=DOLLAR if code == "dollars" else None,
            )
            for code, side, amount in legs
        ]
        missing = -sum(_net(line, book.base_currency) for line in lines)
        if missing:
            side = Side.DEBIT if missing > 0 else Side.CREDIT
            lines.append(LineIn(account_id=ids[balancing], side=side, amount=abs(missing)))
        if len(lines) > 1:
            data = EntryIn(date=date, description="Entry", lines=lines)
            entry = await journal_service.create_draft(session, book, data)
            await journal_service.post(session, book, entry.id, ANY_VERSION)


@pytest.mark.usefixtures("company")
@ledgers
@given(entries=LEDGERS, day=DAYS)
async def test_debits_equal_credits(
    book: Book, company: Mapping[str, int], db_layer: Layer, entries: list[Entry], day: dt.date
) -> None:
    """The trial balance sums to zero on every day."""
    async with db_layer() as session:
        await _post(session, book, company, entries)
        report = await trial_balance(session, book, TrialBalanceQuery(as_of=day))

    assert report.totals.debit == report.totals.credit
    assert report.translation_difference == 0


@ledgers
@given(entries=LEDGERS, days=st.lists(DAYS, min_size=1, max_size=3))
async def test_assets_equal_liabilities_equity_and_earnings(
    book: Book,
    company: Mapping[str, int],
    db_layer: Layer,
    entries: list[Entry],
    days: list[dt.date],
) -> None:
    """The balance sheet balances in each column, without a difference to make it so."""
    async with db_layer() as session:
        await _post(session, book, company, entries)
        sheet = await balance_sheet(session, book, BalanceSheetQuery(as_of=days))

    for assets, liabilities, equity, earnings in zip(
        sheet.assets.total, sheet.liabilities.total, sheet.equity.total, sheet.earnings, strict=True
    ):
        assert assets == liabilities + equity + earnings
    assert sheet.liabilities_and_equity == sheet.assets.total


def _periods(day: dt.date) -> PeriodsQuery:
    """Cut the quarter in two after `day`, and add the quarter itself."""
    cut = min(day, LAST - dt.timedelta(days=1))
    whole = Period(first=FIRST, last=LAST)
    before = Period(first=FIRST, last=cut)
    after = Period(first=cut + dt.timedelta(days=1), last=LAST)
    return PeriodsQuery(period=[before, after, whole])


@ledgers
@given(entries=LEDGERS, day=DAYS)
async def test_net_income_is_the_change_of_earnings(
    book: Book, company: Mapping[str, int], db_layer: Layer, entries: list[Entry], day: dt.date
) -> None:
    """Two adjoining periods add up to the whole, and to what the balance sheet has gained."""
    query = _periods(day)
    async with db_layer() as session:
        await _post(session, book, company, entries)
        statement: IncomeStatement = await income_statement(session, book, query)
        ends = BalanceSheetQuery(as_of=[period.last for period in query.period])
        sheet = await balance_sheet(session, book, ends)

    before, after, whole = statement.net_income
    assert before + after == whole == sheet.earnings[2]
    assert after == sheet.earnings[1] - sheet.earnings[0]


@ledgers
@given(entries=LEDGERS, day=DAYS)
async def test_cash_flow_is_the_change_of_cash(
    book: Book, company: Mapping[str, int], db_layer: Layer, entries: list[Entry], day: dt.date
) -> None:
    """Activities explain all of it, and cash is what the trial balance has on cash accounts."""
    query = _periods(day)
    async with db_layer() as session:
        await _post(session, book, company, entries)
        report: CashFlow = await cash_flow(session, book, query)
        proof = await trial_balance(session, book, TrialBalanceQuery(as_of=LAST))

    for opening, change, closing in zip(report.opening, report.change, report.closing, strict=True):
        assert opening + change == closing
    assert report.opening[1] == report.closing[0]
    cash = [row.own for row in proof.rows if row.code in {"bank", "dollars", "valuation"}]
    assert report.closing[2] == sum(own.debit - own.credit for own in cash)


@ledgers
@given(entries=LEDGERS, rate=st.decimals("0.01", "200", places=4))
async def test_a_translation_is_off_by_no_more_than_its_rounding(
    book: Book, company: Mapping[str, int], db_layer: Layer, entries: list[Entry], rate: Decimal
) -> None:
    """Half a minor unit for each account is the bound, and the sheet balances with what is off."""
    async with db_layer() as session:
        await _post(session, book, company, entries)
        stored = RateIn(date=FIRST, base="CHF", quote="EUR", rate=rate)
        await rates_service.store(session, book, [stored])
        query = BalanceSheetQuery(as_of=[LAST], currency="CHF")
        sheet = await balance_sheet(session, book, query)

    (difference,) = sheet.translation_difference
    assert abs(difference) <= Decimal("0.005") * len(company)
    assert sheet.liabilities_and_equity == sheet.assets.total


@ledgers
@given(entries=LEDGERS, rate=st.decimals("0.01", "200", places=4), day=DAYS)
async def test_revaluing_twice_is_revaluing_once(  # noqa: PLR0917
    book: Book,
    company: Mapping[str, int],
    db_layer: Layer,
    entries: list[Entry],
    rate: Decimal,
    day: dt.date,
) -> None:
    """The second finds no difference, and the balance in dollars is worth what the rate says."""
    data = RevaluationIn(
        date=day,
        adjustment_account_id=company["valuation"],
        gain_account_id=company["fx-gains"],
        loss_account_id=company["fx-losses"],
    )
    async with db_layer() as session:
        await _post(session, book, company, entries)
        stored = RateIn(date=FIRST, base="USD", quote="EUR", rate=rate)
        await rates_service.store(session, book, [stored])
        await revaluation_service.revalue(session, book, data)
        again = await revaluation_service.revalue(session, book, data)
        balances = await journal_service.balances(session, book, day)
        sheet = await balance_sheet(session, book, BalanceSheetQuery(as_of=[day]))
        accounts = await accounts_service.in_book(session, book)

    assert again.entry_id is None
    by_code = {account.code: balances.get(account.id) for account in accounts}
    dollars, adjustment = by_code["dollars"], by_code["valuation"]
    if dollars is not None:
        worth = dollars.base_amount + (adjustment.base_amount if adjustment else 0)
        assert worth == convert(dollars.amount, rate, "EUR")
    assert sheet.translation_difference == [0]
