"""A company's first quarter, small enough to be worked out by hand."""

from ..ledger import Ledger, Line

# By code: type and activity.
ACCOUNTS = {
    "bank": ("asset", "cash"),
    "dollars": ("asset", "cash"),
    "receivables": ("asset", "operating"),
    "equipment": ("asset", "investing"),
    "valuation": ("asset", "cash"),
    "loan": ("liability", "financing"),
    "capital": ("equity", "financing"),
    "sales": ("income", "operating"),
    "fx-gains": ("income", "exchange"),
    "rent": ("expense", "operating"),
    "fx-losses": ("expense", "exchange"),
}

ENTRIES: list[tuple[str, Line, Line]] = [
    ("2026-01-01", ("bank", "debit", "10000.00"), ("capital", "credit", "10000.00")),
    ("2026-01-05", ("bank", "debit", "5000.00"), ("loan", "credit", "5000.00")),
    ("2026-01-10", ("equipment", "debit", "3000.00"), ("bank", "credit", "3000.00")),
    ("2026-01-20", ("receivables", "debit", "2000.00"), ("sales", "credit", "2000.00")),
    ("2026-01-31", ("rent", "debit", "800.00"), ("bank", "credit", "800.00")),
    ("2026-02-10", ("bank", "debit", "1500.00"), ("receivables", "credit", "1500.00")),
    ("2026-02-15", ("dollars", "debit", "1000.00", "0.90"), ("bank", "credit", "900.00")),
    ("2026-02-20", ("dollars", "debit", "500.00", "0.92"), ("sales", "credit", "460.00")),
    ("2026-02-28", ("rent", "debit", "800.00"), ("bank", "credit", "800.00")),
    ("2026-03-05", ("loan", "debit", "1000.00"), ("bank", "credit", "1000.00")),
]


async def open_company(ledger: Ledger, base_currency: str) -> Ledger:
    """Open the company's accounts, all but the dollars in its own currency."""
    for code, (type_, activity) in ACCOUNTS.items():
        currency = "USD" if code == "dollars" else base_currency
        await ledger.open(code, type=type_, currency=currency, activity=activity)
    return ledger
