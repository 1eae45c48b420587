"""Importing statements in CSV."""

import pytest
from httpx import AsyncClient

from ..bank import Bank

HEADER = "Date,Payee,Text,Amount\n"
FILE = f"{HEADER}2026-01-05,Café Central,Breakfast,-12.30\n2026-01-07,Acme,Invoice 7,185.00\n"


async def _set_format(client: AsyncClient, bank: Bank, **fields: object) -> None:
    columns = {"date": "Date", "amount": "Amount", "description": ["Payee", "Text"]}
    body = {
        "account_id": bank.shown["account_id"],
        "name": "Giro",
        "csv_format": {"columns": columns, **fields},
    }
    url = f"{bank.url}"
    response = await client.put(url, json=body, headers={"If-Match": "*"})
    assert response.status_code == 200, response.text


async def test_rows_become_lines(bank: Bank) -> None:
    """A line has the row's date, amount and texts, and says where in the file it stood."""
    response = await bank.send(FILE)

    assert response.status_code == 201
    report = response.json()
    assert (report["imported"], report["duplicates"], report["rejected"]) == (2, 0, 0)
    keys = ("line", "date", "amount", "description", "reference")
    assert [tuple(line[key] for key in keys) for line in await bank.lines()] == [
        (2, "2026-01-05", "-12.30", "Café Central Breakfast", None),
        (3, "2026-01-07", "185.00", "Acme Invoice 7", None),
    ]


async def test_a_row_may_span_lines_of_the_file(bank: Bank) -> None:
    """A quoted text with a line break is one row, and the next row's line is still right."""
    await bank.send(f'{HEADER}2026-01-05,"Café\nCentral",x,-1.00\n2026-01-06,Acme,y,2.00\n')

    assert [(line["line"], line["description"]) for line in await bank.lines()] == [
        (2, "Café Central x"),
        (4, "Acme y"),
    ]


async def test_a_file_without_rows_imports_nothing(bank: Bank) -> None:
    """A month without movements is no error."""
    assert (await bank.send(HEADER)).json()["imported"] == 0


async def test_empty_lines_are_no_rows(bank: Bank) -> None:
    """Banks like to end a file with some."""
    assert (await bank.send(FILE + "\n\n")).json()["imported"] == 2


async def test_columns_that_are_not_needed_are_ignored(bank: Bank) -> None:
    """Their order does not matter either."""
    await bank.send("Balance,Amount,Date,Text,Payee\n9.00,1.00,2026-01-05,a,b\n")

    assert [line["description"] for line in await bank.lines()] == ["b a"]


async def test_a_german_banks_file_can_be_read(ada: AsyncClient, bank: Bank) -> None:
    """Semicolons, Latin-1, points for thousands, a preamble: the format declares it."""
    await _set_format(
        ada,
        bank,
        columns={"date": "Buchung", "amount": "Betrag", "description": ["Empfänger"]},
        delimiter=";",
        encoding="iso-8859-1",
        date_format="DD.MM.YYYY",
        decimal_separator=",",
        preamble_lines=2,
    )
    content = "Konto;1\n\nBuchung;Empfänger;Betrag\n05.01.2026;Müller;-1.234,50\n"

    await bank.send(content.encode("iso-8859-1"))

    (line,) = await bank.lines()
    assert (line["line"], line["date"], line["amount"]) == (4, "2026-01-05", "-1234.50")
    assert line["description"] == "Müller"


async def test_a_byte_order_mark_is_no_part_of_a_column(bank: Bank) -> None:
    """Spreadsheets write one at the beginning of UTF-8."""
    assert (await bank.send(b"\xef\xbb\xbf" + FILE.encode())).status_code == 201


async def test_money_in_and_money_out_can_have_a_column_each(ada: AsyncClient, bank: Bank) -> None:
    """What goes out is negative, whether the bank writes a minus or not."""
    amount = {"money_in": "In", "money_out": "Out"}
    await _set_format(
        ada, bank, columns={"date": "Date", "amount": amount, "description": ["Text"]}
    )

    await bank.send(
        "Date,Text,In,Out\n2026-01-01,a,5.00,\n2026-01-02,b,,3.00\n2026-01-03,c,,-4.00\n"
    )

    assert [line["amount"] for line in await bank.lines()] == ["5.00", "-3.00", "-4.00"]


@pytest.mark.parametrize("amounts", [",", "1.00,2.00"], ids=["neither", "both"])
async def test_a_row_is_either_money_in_or_money_out(
    ada: AsyncClient, bank: Bank, amounts: str
) -> None:
    """A row with both amounts, or none, is bad."""
    amount = {"money_in": "In", "money_out": "Out"}
    await _set_format(
        ada, bank, columns={"date": "Date", "amount": amount, "description": ["Text"]}
    )

    response = await bank.send(f"Date,Text,In,Out\n2026-01-01,a,{amounts}\n")

    (row,) = response.json()["rows"]
    assert row == {"line": 2, "reason": "either 'In' or 'Out' must have an amount"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2026-13-05,a,b,1.00", "'2026-13-05' is not a date (YYYY-MM-DD)"),
        (",a,b,1.00", "'' is not a date (YYYY-MM-DD)"),
        (
            '2026-01-05,a,b,"1,50"',
            "'1,50' is not a number with the decimal separator '.'",
        ),
        ("2026-01-05,a,b,1e5", "'1e5' is not a number with the decimal separator '.'"),
        ("2026-01-05,a,b,0.00", "the amount is zero"),
        ("2026-01-05,a,b,1.005", "the amount 1.005 has more decimals than EUR has"),
        ("2026-01-05,a,b", "has 3 fields, the header has 4"),
        ("2026-01-05,a,b,1.00,c", "has 5 fields, the header has 4"),
        ("2026-01-05,a,b\0c,1.00", "the description has a NUL character"),
        (f"2026-01-05,{'a' * 501},b,1.00", "the description is longer than 500 characters"),
        (
            '2026-01-05,"a"x,b,1.00',
            "is not CSV: ',' expected after '\"'",
        ),
        (b"2026-01-05,\xe9,b,1.00", "is not utf-8"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value)[:20],
)
async def test_a_bad_row_is_reported_by_its_line(bank: Bank, row: str | bytes, reason: str) -> None:
    """The good rows around it are not in the report, and are not kept either."""
    bad = row if isinstance(row, bytes) else row.encode()
    content = f"{HEADER}2026-01-01,a,b,1.00\n".encode() + bad + b"\n2026-01-09,a,b,2.00\n"

    response = await bank.send(content)

    assert response.status_code == 422
    problem = response.json()
    assert (problem["type"], problem["rejected"]) == ("/problems/bad-rows", 1)
    assert problem["rows"] == [{"line": 3, "reason": reason}]
    assert await bank.lines() == []


async def test_the_good_rows_are_kept_when_asked_for(bank: Bank) -> None:
    """`on_error=skip` imports what it can and reports the rest."""
    content = f"{HEADER}2026-01-01,a,b,1.00\nyesterday,a,b,1.00\n2026-01-09,a,b,2.00\n"

    response = await bank.send(content, on_error="skip")

    report = response.json()
    assert (response.status_code, report["imported"], report["rejected"]) == (201, 2, 1)
    assert [row["line"] for row in report["rows"]] == [3]
    assert [line["line"] for line in await bank.lines()] == [2, 4]


async def test_an_import_that_is_refused_leaves_nothing(ada: AsyncClient, bank: Bank) -> None:
    """Not even a record of the import."""
    await bank.send(f"{HEADER}bad,a,b,1.00\n")

    imports = await ada.get(f"{bank.url}/imports")
    assert imports.json()["items"] == []


async def test_the_report_names_a_hundred_bad_rows_and_counts_the_rest(bank: Bank) -> None:
    """An answer has a bound, however wrong the file is."""
    response = await bank.send(HEADER + "bad,a,b,1.00\n" * 150)

    assert response.json()["rejected"] == 150
    assert len(response.json()["rows"]) == 100


@pytest.mark.parametrize(
    "header",
    ["", "Date,Payee,Amount\n", "Date,Date,Payee,Text,Amount\n", '"Date\n'],
    ids=["empty file", "missing", "twice", "not CSV"],
)
async def test_a_file_without_its_columns_is_refused(bank: Bank, header: str) -> None:
    """A file of another bank is told apart from one with bad rows."""
    response = await bank.send(header + "2026-01-05,a,b,1.00\n", on_error="skip")

    assert (response.status_code, response.json()["type"]) == (422, "/problems/file-format")


async def test_a_quote_that_never_ends_takes_the_rest_of_the_file(bank: Bank) -> None:
    """The row that opens it is bad, and says where it began."""
    response = await bank.send(f'{FILE}2026-01-08,"Acme,b,1.00\n2026-01-09,a,b,1.00\n')

    assert response.json()["rows"] == [{"line": 4, "reason": "is not CSV: unexpected end of data"}]


async def test_a_bank_account_without_a_format_takes_no_csv(ada: AsyncClient) -> None:
    """Columns are not guessed."""
    account = {"code": "1200", "name": "Bank", "type": "asset", "currency": "EUR"}
    account_id = (await ada.post("/accounts", json=account)).json()["id"]
    await ada.post("/bank-accounts", json={"account_id": account_id, "name": "Giro"})

    response = await ada.post(
        "/bank-accounts/1/imports", content=FILE, headers={"Content-Type": "text/csv"}
    )

    assert response.json()["type"] == "/problems/missing-csv-format"


@pytest.mark.parametrize("media_type", ["application/pdf", "", "text/csvx"])
async def test_a_file_of_another_format_is_refused(bank: Bank, media_type: str) -> None:
    """The media type decides how a file is read; there is no guessing by content."""
    response = await bank.send(FILE, media_type=media_type)

    assert (response.status_code, response.json()["type"]) == (415, "/problems/unsupported-format")


async def test_imports_are_listed_with_what_became_of_them(ada: AsyncClient, bank: Bank) -> None:
    """The list tells what the answer to the import told."""
    report = (await bank.send(FILE)).json()

    (item,) = (await ada.get(f"{bank.url}/imports")).json()["items"]

    assert item == {name: value for name, value in report.items() if name != "rows"}


async def test_lines_can_be_filtered(ada: AsyncClient, bank: Bank) -> None:
    """By their dates, both included, and by the import that brought them."""
    await bank.send(FILE)
    await bank.send(f"{HEADER}2026-02-01,a,b,1.00\n")
    url = f"{bank.url}/lines"

    january = {"date_from": "2026-01-05", "date_to": "2026-01-07"}
    by_date = (await ada.get(url, params=january)).json()["items"]
    by_import = (await ada.get(url, params={"import_id": 2})).json()["items"]

    assert [line["date"] for line in by_date] == ["2026-01-05", "2026-01-07"]
    assert [line["date"] for line in by_import] == ["2026-02-01"]


async def test_lines_are_paged_by_date(ada: AsyncClient, bank: Bank) -> None:
    """Lines of one day are told apart by their ids, so that none is missing between pages."""
    await bank.send(HEADER + "".join(f"2026-01-0{1 + i // 2},a,{i},1.00\n" for i in range(5)))
    seen: list[int] = []
    query: dict[str, str | int] = {"limit": 2}

    for _ in range(3):
        page = (await ada.get(f"{bank.url}/lines", params=query)).json()
        seen += [line["line"] for line in page["items"]]
        query["cursor"] = page["next_cursor"]

    assert seen == [2, 3, 4, 5, 6]
    assert query["cursor"] is None
