"""Importing statements in OFX."""

import io

import pytest
from httpx import AsyncClient
from hypothesis import given
from hypothesis import strategies as st

from backend.statements.ofx_files import MAX_OFX_BYTES, _starting_lines, read_ofx
from backend.tables import BadRow, FileFormatError

from ..bank import Bank

OFX = "application/x-ofx"
HEADER_1 = """OFXHEADER:100
DATA:OFXSGML
VERSION:102
SECURITY:NONE
ENCODING:USASCII
CHARSET:1252
COMPRESSION:NONE
OLDFILEUID:NONE
NEWFILEUID:NONE

"""
HEADER_2 = """<?xml version="1.0" encoding="UTF-8"?>
<?OFX OFXHEADER="200" VERSION="211" SECURITY="NONE" OLDFILEUID="NONE" NEWFILEUID="NONE"?>
"""


def _movement(fitid: str = "A1", **changes: str) -> str:
    fields = {"TRNTYPE": "DEBIT", "DTPOSTED": "20260105", "TRNAMT": "-12.30", "FITID": fitid}
    fields |= {"NAME": "Acme", "MEMO": "Invoice 7", **changes}
    tags = "".join(f"<{tag}>{value}</{tag}>\n" for tag, value in fields.items() if value)
    return f"<STMTTRN>\n{tags}</STMTTRN>\n"


def _statement(*movements: str, number: str = "1234", currency: str = "EUR") -> str:
    return f"""<STMTTRNRS><TRNUID>1</TRNUID><STATUS><CODE>0</CODE><SEVERITY>INFO</SEVERITY></STATUS>
<STMTRS><CURDEF>{currency}</CURDEF>
<BANKACCTFROM><BANKID>1</BANKID><ACCTID>{number}</ACCTID><ACCTTYPE>CHECKING</ACCTTYPE></BANKACCTFROM>
<BANKTRANLIST><DTSTART>20260101</DTSTART><DTEND>20260131</DTEND>
{"".join(movements)}</BANKTRANLIST>
<LEDGERBAL><BALAMT>10.00</BALAMT><DTASOF>20260131</DTASOF></LEDGERBAL></STMTRS></STMTTRNRS>
"""


def _file(*statements: str, header: str = HEADER_2) -> str:
    return f"{header}<OFX><BANKMSGSRSV1>\n{''.join(statements)}</BANKMSGSRSV1></OFX>\n"


async def test_movements_become_lines(bank: Bank) -> None:
    """A line has the date, the amount, the bank's reference, and name with memo as its text."""
    response = await bank.send(_file(_statement(_movement())), media_type=OFX)

    assert (response.status_code, response.json()["format"]) == (201, "ofx")
    (line,) = await bank.lines()
    assert (line["date"], line["amount"], line["reference"]) == ("2026-01-05", "-12.30", "A1")
    assert line["description"] == "Acme Invoice 7"


async def test_version_1_without_end_tags_can_be_read(bank: Bank) -> None:
    """Banks still send SGML, whose values end where the next tag begins."""
    movement = (
        "<STMTTRN>\n<TRNTYPE>DEBIT\n<DTPOSTED>20260105\n<TRNAMT>-5.00\n<FITID>A1\n</STMTTRN>\n"
    )

    await bank.send(_file(_statement(movement), header=HEADER_1), media_type=OFX)

    (line,) = await bank.lines()
    assert (line["amount"], line["description"]) == ("-5.00", "")


async def test_a_line_says_where_its_movement_begins(bank: Bank) -> None:
    """The line number is that of the movement's tag in the file."""
    content = _file(_statement(_movement("A1"), _movement("A2")))

    await bank.send(content, media_type=OFX)

    rows = content.split("\n")
    assert [rows[line["line"] - 1] for line in await bank.lines()] == ["<STMTTRN>"] * 2


@pytest.mark.timeout(30)  # far too little to count from the beginning for each of them
def test_the_lines_of_a_large_file_are_counted_once() -> None:
    """As many movements as a file can have take no longer than reading it."""
    tag = b"<STMTTRN>\n"
    count = MAX_OFX_BYTES // len(tag)

    assert _starting_lines(tag * count) == list(range(1, count + 1))


async def test_a_tag_within_a_text_makes_line_numbers_unknown(bank: Bank) -> None:
    """Then they could be those of other movements, so each line says 1; nothing else is lost."""
    memo = "<![CDATA[we sent <STMTTRN> twice]]>"

    await bank.send(_file(_statement(_movement(MEMO=memo))), media_type=OFX)

    (line,) = await bank.lines()
    assert (line["line"], line["description"]) == (1, "Acme we sent <STMTTRN> twice")


@pytest.mark.parametrize(
    "posted",
    ["20260105", "20260105000000[+2:EET]", "20260105233000[-8:PST]", "20260105120000.000"],
)
async def test_a_booking_date_is_the_banks_own(bank: Bank, posted: str) -> None:
    """A time zone does not move a movement to the day before or after."""
    await bank.send(_file(_statement(_movement(DTPOSTED=posted))), media_type=OFX)

    assert [line["date"] for line in await bank.lines()] == ["2026-01-05"]


async def test_the_reference_tells_movements_apart(bank: Bank) -> None:
    """The same FITID again is the same movement, even if the bank has changed its text."""
    await bank.send(_file(_statement(_movement("A1"), _movement("A2"))), media_type=OFX)

    again = _file(_statement(_movement("A1", MEMO="Settled"), _movement("A3")))
    report = (await bank.send(again, media_type=OFX)).json()

    assert (report["imported"], report["duplicates"]) == (1, 1)


async def test_a_credit_card_has_statements_too(bank: Bank) -> None:
    """Credit cards have message sets of their own in OFX."""
    content = (
        _file(_statement(_movement()))
        .replace("BANKMSGSRSV1", "CREDITCARDMSGSRSV1")
        .replace("<STMTRS>", "<CCSTMTRS>")
        .replace("</STMTRS>", "</CCSTMTRS>")
        .replace("BANKACCTFROM", "CCACCTFROM")
    )

    await bank.send(content, media_type=OFX)

    assert len(await bank.lines()) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"TRNAMT": "ten"}, "is not as OFX demands"),
        ({"DTPOSTED": "20261305"}, "is not as OFX demands"),
        ({"FITID": ""}, "is not as OFX demands"),
        ({"TRNTYPE": "MAGIC"}, "is not as OFX demands"),
        ({"TRNAMT": "0.00"}, "the amount is zero"),
        ({"TRNAMT": "1.005"}, "has more decimals than EUR has"),
        ({"TRNAMT": "1" * 16}, "is too large"),
        ({"TRNAMT": "NaN"}, "is too large"),
        ({"TRNAMT": "sNaN"}, "is too large"),
        ({"TRNAMT": "1E+1000000"}, "is too large"),
        ({"DTPOSTED": "00010101000000[+1:X]"}, "is not as OFX demands"),
    ],
    ids=str,
)
async def test_a_bad_movement_is_reported_and_the_others_are_kept(
    bank: Bank, change: dict[str, str], reason: str
) -> None:
    """One movement that breaks the specification does not make the file unreadable."""
    content = _file(_statement(_movement("A1"), _movement("A2", **change)))

    report = (await bank.send(content, media_type=OFX, on_error="skip")).json()

    assert (report["imported"], report["rejected"]) == (1, 1)
    (row,) = report["rows"]
    assert content.split("\n")[row["line"] - 1] == "<STMTTRN>"
    assert reason in row["reason"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "Date,Amount\n",
        HEADER_2,
        _file(),
        _file(_statement(currency="USD")),
        _file(_statement(), _statement(number="5678")),
        HEADER_2 + "</OFX>",
        HEADER_2 + "<OFX>",
    ],
    ids=[
        "empty",
        "csv",
        "header only",
        "no statement",
        "currency",
        "two accounts",
        "tag not opened",
        "nothing in it",
    ],
)
async def test_a_file_that_is_not_the_accounts_statement_is_refused(
    bank: Bank, content: str
) -> None:
    """The problem is the file as a whole, whatever becomes of bad rows."""
    response = await bank.send(content, media_type=OFX, on_error="skip")

    assert (response.status_code, response.json()["type"]) == (422, "/problems/file-format")


# ofxtools warns, since the bank and not the user should know.
@pytest.mark.filterwarnings("ignore::ofxtools.models.base.UnknownTagWarning")
async def test_a_tag_of_the_banks_own_is_ignored(bank: Bank) -> None:
    """Banks add what the specification does not know."""
    await bank.send(_file(_statement(_movement(MYBANKTAG="x"))), media_type=OFX)

    assert len(await bank.lines()) == 1


async def test_the_account_number_picks_a_statement(ada: AsyncClient, bank: Bank) -> None:
    """Of a file about several accounts only the lines of this one are taken."""
    body = {"account_id": bank.shown["account_id"], "name": "Giro", "number": "5678"}
    await ada.put(f"{bank.url}", json=body, headers={"If-Match": "*"})
    content = _file(_statement(_movement("A1")), _statement(_movement("B1"), number="5678"))

    await bank.send(content, media_type=OFX)

    assert [line["reference"] for line in await bank.lines()] == ["B1"]


async def test_a_file_of_another_account_is_refused(ada: AsyncClient, bank: Bank) -> None:
    """Who mixes up two banks is told so before anything is in the books."""
    body = {"account_id": bank.shown["account_id"], "name": "Giro", "number": "9999"}
    await ada.put(f"{bank.url}", json=body, headers={"If-Match": "*"})

    response = await bank.send(_file(_statement(_movement())), media_type=OFX)

    assert response.json()["detail"] == "The file has 0 statements of account 9999 instead of one."


async def test_a_file_too_large_for_a_tree_is_refused(bank: Bank) -> None:
    """OFX is read as a whole, so its size has a limit of its own."""
    response = await bank.send(b" " * (MAX_OFX_BYTES + 1), media_type=OFX)

    assert (response.status_code, response.json()["type"]) == (413, "/problems/upload-too-large")


# ofxtools warns of tags that it does not know, which a damaged file has.
@pytest.mark.filterwarnings("ignore::ofxtools.models.base.UnknownTagWarning")
@given(data=st.data())
def test_a_damaged_file_is_never_more_than_a_bad_file(data: st.DataObject) -> None:
    """Wherever a file is cut or changed, it is refused or read; nothing else is raised."""
    content = _file(_statement(_movement("A1"), _movement("A2")))
    at = data.draw(st.integers(0, len(content)))
    until = data.draw(st.integers(at, min(len(content), at + 40)))
    middle = data.draw(st.sampled_from(["", "<", ">", "</", "<OFX>", "&", "<![CDATA[", "\0", "é"]))
    damaged = (content[:at] + middle + content[until:]).encode()

    try:
        rows = list(read_ofx(io.BytesIO(damaged), None, "EUR"))
    except FileFormatError:
        return

    assert all(isinstance(row, BadRow) or row.reference for row in rows)
