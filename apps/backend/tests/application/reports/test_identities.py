"""What holds for every ledger, whatever is in it."""

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.journal import service as journal_service
from backend.journal.service import EntryIn, LineIn, Side
from backend.money import convert, is_payable, minor_unit
from backend.rates import service as rates_service
from backend.rates.schemas import RateIn
from backend.reports.balance_sheet import balance_sheet
from backend.reports.cash_flow import cash_flow
from backend.reports.income_statement import income_statement
from backend.reports.schemas import (
    CashFlow,
    DaysQuery,
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

from ..ledger import Ledger
from ..people import book_of, sign_up
from .company import open_company

Entry = tuple[dt.date, list[tuple[str, Side, int]], str]
Layer = Callable[[], Any]

FIRST, LAST = dt.date(2026, 1, 1), dt.date(2026, 3, 31)
# What a dollar costs in each base currency.
DOLLAR = {"EUR": Decimal("0.92"), "JPY": Decimal("148.5"), "KWD": Decimal("0.307")}

LEGS = st.tuples(
    st.sampled_from(["bank", "dollars", "receivables", "loan", "capital", "sales", "rent"]),
    st.sampled_from(Side),
    st.integers(1, 999_999),  # minor units
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
                amount=units * minor_unit("USD" if code == "dollars" else book.base_currency),
                rate=DOLLAR[book.base_currency] if code == "dollars" else None,
            )
            for code, side, units in legs
        ]
        missing = -sum(_net(line, book.base_currency) for line in lines)
        if missing:
            side = Side.DEBIT if missing > 0 else Side.CREDIT
            lines.append(LineIn(account_id=ids[balancing], side=side, amount=abs(missing)))
        if len(lines) > 1:
            data = EntryIn(date=date, description="Entry", lines=lines)
            entry = await journal_service.create_draft(session, book, data)
            await journal_service.post(session, book, entry.id, ANY_VERSION)


@ledgers
@given(entries=LEDGERS, days=st.lists(DAYS, min_size=1, max_size=3))
async def test_debits_equal_credits(
    book: Book, company: Ledger, db_layer: Layer, entries: list[Entry], days: list[dt.date]
) -> None:
    """Each column of the trial balance sums to zero, and is what a report of its day alone says."""
    async with db_layer() as session:
        await _post(session, book, company.ids, entries)
        report = await trial_balance(session, book, TrialBalanceQuery(as_of=days))
        alone = await trial_balance(session, book, TrialBalanceQuery(as_of=days[-1:]))

    assert all(total.debit == total.credit for total in report.totals)
    assert not any(report.translation_difference)
    shown = {row.code: row.own[-1] for row in report.rows}
    assert {row.code: row.own[0] for row in alone.rows}.items() <= shown.items()
    assert report.totals[-1:] == alone.totals


@ledgers
@given(entries=LEDGERS, days=st.lists(DAYS, min_size=1, max_size=3))
async def test_assets_equal_liabilities_equity_and_earnings(
    book: Book, company: Ledger, db_layer: Layer, entries: list[Entry], days: list[dt.date]
) -> None:
    """The balance sheet balances in each column, without a difference to make it so."""
    async with db_layer() as session:
        await _post(session, book, company.ids, entries)
        sheet = await balance_sheet(session, book, DaysQuery(as_of=days))

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
    book: Book, company: Ledger, db_layer: Layer, entries: list[Entry], day: dt.date
) -> None:
    """Two adjoining periods add up to the whole, and to what the balance sheet has gained."""
    query = _periods(day)
    async with db_layer() as session:
        await _post(session, book, company.ids, entries)
        statement: IncomeStatement = await income_statement(session, book, query)
        ends = DaysQuery(as_of=[period.last for period in query.period])
        sheet = await balance_sheet(session, book, ends)

    before, after, whole = statement.net_income
    assert before + after == whole == sheet.earnings[2]
    assert after == sheet.earnings[1] - sheet.earnings[0]


@ledgers
@given(entries=LEDGERS, day=DAYS)
async def test_cash_flow_is_the_change_of_cash(
    book: Book, company: Ledger, db_layer: Layer, entries: list[Entry], day: dt.date
) -> None:
    """Activities explain all of it, and cash is what the trial balance has on cash accounts."""
    query = _periods(day)
    async with db_layer() as session:
        await _post(session, book, company.ids, entries)
        report: CashFlow = await cash_flow(session, book, query)
        proof = await trial_balance(session, book, TrialBalanceQuery(as_of=[LAST]))

    for opening, change, closing in zip(report.opening, report.change, report.closing, strict=True):
        assert opening + change == closing
    assert report.opening[1] == report.closing[0]
    cash = [row.own[0] for row in proof.rows if row.code in {"bank", "dollars", "valuation"}]
    assert report.closing[2] == sum(own.debit - own.credit for own in cash)


# Somebody posts after each statement of the report: only real transactions do that.
@pytest.mark.db(isolation="commit")
async def test_an_entry_posted_meanwhile_is_no_difference(
    book: Book, company: Ledger, db: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the flows have brought is in the closing as well, whatever is posted meanwhile."""
    execute: Callable[..., Awaitable[object]] = db.execute

    async def execute_and_post(*args: object, **options: object) -> object:
        result = await execute(*args, **options)
        await company.post(("bank", "debit", "1.00"), ("capital", "credit", "1.00"))
        return result

    monkeypatch.setattr(db, "execute", execute_and_post)
    report = await cash_flow(db, book, PeriodsQuery(period=[Period(first=FIRST, last=LAST)]))

    assert any(report.change)
    assert report.translation_difference == [0]


@ledgers
@given(entries=LEDGERS, rate=st.decimals("0.01", "200", places=4))
async def test_a_translation_is_off_by_no_more_than_its_rounding(
    book: Book, company: Ledger, db_layer: Layer, entries: list[Entry], rate: Decimal
) -> None:
    """Half a minor unit for each account is the bound, and the sheet balances with what is off."""
    async with db_layer() as session:
        await _post(session, book, company.ids, entries)
        stored = RateIn(date=FIRST, base="CHF", quote="EUR", rate=rate)
        await rates_service.store(session, book, [stored])
        query = DaysQuery(as_of=[LAST], currency="CHF")
        sheet = await balance_sheet(session, book, query)

    (difference,) = sheet.translation_difference
    assert abs(difference) <= Decimal("0.005") * len(company.ids)
    assert sheet.liabilities_and_equity == sheet.assets.total


@ledgers
@given(entries=LEDGERS, rate=st.decimals("0.01", "200", places=4), day=DAYS)
async def test_revaluing_twice_is_revaluing_once(  # noqa: PLR0917
    book: Book, company: Ledger, db_layer: Layer, entries: list[Entry], rate: Decimal, day: dt.date
) -> None:
    """The second finds no difference, and the balance in dollars is worth what the rate says."""
    data = RevaluationIn(
        date=day,
        adjustment_account_id=company.ids["valuation"],
        gain_account_id=company.ids["fx-gains"],
        loss_account_id=company.ids["fx-losses"],
    )
    async with db_layer() as session:
        await _post(session, book, company.ids, entries)
        stored = RateIn(date=FIRST, base="USD", quote="EUR", rate=rate)
        await rates_service.store(session, book, [stored])
        await revaluation_service.revalue(session, book, data)
        again = await revaluation_service.revalue(session, book, data)
        balances = await journal_service.balances(session, book, day)
        sheet = await balance_sheet(session, book, DaysQuery(as_of=[day]))
        accounts = await accounts_service.in_book(session, book)

    assert again.entry_id is None
    by_code = {account.code: balances.get(account.id) for account in accounts}
    dollars, adjustment = by_code["dollars"], by_code["valuation"]
    if dollars is not None:
        worth = dollars.base_amount + (adjustment.base_amount if adjustment else 0)
        assert worth == convert(dollars.amount, rate, "EUR")
    assert sheet.translation_difference == [0]


@pytest.fixture(params=["JPY", "KWD"])
async def elsewhere(request: pytest.FixtureRequest, app: FastAPI) -> Ledger:
    """Open the company where money has no minor unit, and where it has a thousand of them."""
    return await open_company(Ledger(await sign_up(app, "kim", request.param)), request.param)


@settings(ledgers, max_examples=8)  # for each currency
@given(entries=LEDGERS, day=DAYS)
async def test_the_identities_hold_in_any_base_currency(
    elsewhere: Ledger, db_layer: Layer, entries: list[Entry], day: dt.date
) -> None:
    """All reports balance, in amounts that can be paid."""
    book = await book_of(elsewhere.client)
    async with db_layer() as session:
        await _post(session, book, elsewhere.ids, entries)
        trial = await trial_balance(session, book, TrialBalanceQuery(as_of=[day, LAST]))
        sheet = await balance_sheet(session, book, DaysQuery(as_of=[day, LAST]))
        statement = await income_statement(session, book, _periods(day))
        flows = await cash_flow(session, book, _periods(day))

    assert trial.currency == sheet.currency == book.base_currency
    assert all(total.debit == total.credit for total in trial.totals)
    assert sheet.assets.total == sheet.liabilities_and_equity
    assert statement.net_income[2] == sheet.earnings[1]
    for opening, change, closing in zip(flows.opening, flows.change, flows.closing, strict=True):
        assert opening + change == closing
    differences = trial.translation_difference + sheet.translation_difference
    assert not any(differences + flows.translation_difference)
    figures = [
        figure for row in trial.rows for own in row.own for figure in (own.debit, own.credit)
    ]
    assert all(is_payable(figure, book.base_currency) for figure in figures)
