"""Files as banks send them, some of their values made up: the description says only `binary`."""

import csv
import datetime as dt
import io
from decimal import Decimal

from hypothesis import strategies as st

STATEMENT = "Date", "Amount", "Payee", "Text"  # as the demo company's bank writes them
RATES = "date", "base", "quote", "rate"

DAYS = st.dates(dt.date(2026, 1, 1), dt.date(2026, 3, 31))
AMOUNTS = st.decimals(Decimal(-1_000_000), Decimal(1_000_000), places=2)
CURRENCIES = st.sampled_from(["EUR", "USD", "GBP", "JPY"])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


def _mostly(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Let one value of some be anything, so that a file is read to its end before it is refused."""
    return st.one_of(values, values, values, values, TEXTS)


def _csv(columns: tuple[str, ...], *values: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    def write(rows: list[tuple[str, ...]]) -> bytes:
        file = io.StringIO()
        csv.writer(file).writerows([columns, *rows])
        return file.getvalue().encode()

    return st.lists(st.tuples(*values), max_size=5).map(write)


CSV = st.one_of(
    _csv(STATEMENT, _mostly(DAYS.map(str)), _mostly(AMOUNTS.map(str)), TEXTS, TEXTS),
    _csv(
        RATES,
        _mostly(DAYS.map(str)),
        _mostly(CURRENCIES),
        _mostly(CURRENCIES),
        _mostly(AMOUNTS.map(abs).map(str)),
    ),
    st.binary(),
)

_OFX = """<?xml version="1.0" encoding="UTF-8"?>
<?OFX OFXHEADER="200" VERSION="211" SECURITY="NONE" OLDFILEUID="NONE" NEWFILEUID="NONE"?>
<OFX><BANKMSGSRSV1><STMTTRNRS><TRNUID>1</TRNUID>
<STATUS><CODE>0</CODE><SEVERITY>INFO</SEVERITY></STATUS>
<STMTRS><CURDEF>{currency}</CURDEF>
<BANKACCTFROM><BANKID>1</BANKID><ACCTID>1234</ACCTID><ACCTTYPE>CHECKING</ACCTTYPE></BANKACCTFROM>
<BANKTRANLIST><DTSTART>20260101</DTSTART><DTEND>20260131</DTEND>
{movements}</BANKTRANLIST>
<LEDGERBAL><BALAMT>10.00</BALAMT><DTASOF>20260131</DTASOF></LEDGERBAL>
</STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>
"""
_MOVEMENT = """<STMTTRN><TRNTYPE>{0}</TRNTYPE><DTPOSTED>{1}</DTPOSTED><TRNAMT>{2}</TRNAMT>
<FITID>{3}</FITID><NAME>{4}</NAME></STMTTRN>
"""
_MOVEMENTS = st.tuples(
    _mostly(st.sampled_from(["DEBIT", "CREDIT"])),
    _mostly(DAYS.map("{:%Y%m%d}".format)),
    _mostly(AMOUNTS.map(str)),
    TEXTS,
    TEXTS,
)


def _ofx(currency: str, movements: list[tuple[str, ...]]) -> bytes:
    lines = "".join(_MOVEMENT.format(*values) for values in movements)
    return _OFX.format(currency=currency, movements=lines).encode()


OFX = st.one_of(st.builds(_ofx, CURRENCIES, st.lists(_MOVEMENTS, max_size=5)), st.binary())
