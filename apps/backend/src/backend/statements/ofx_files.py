"""Statements in OFX (1 and 2), read by ofxtools.

ofxtools builds a tree of the whole file, so a file is limited to some megabytes: ten thousands of
movements. Its own limits on texts are those of the specification. It is imported with the first
file: it brings an HTTP client along, and would be a sixth of what a process takes to start.
"""

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate, pairwise
from typing import BinaryIO
from xml.etree.ElementTree import Element

from backend.statements.lines import ParsedLine, checked_line
from backend.tables import BadRow, FileFormatError, RowError
from backend.uploads import UploadTooLargeError

MAX_OFX_BYTES = 8 * 2**20

_TRANSACTION = re.compile(rb"<STMTTRN>")


def read_ofx(
    file: BinaryIO, account_number: str | None, currency: str
) -> Iterator[ParsedLine | BadRow]:
    """Read the movements of one account.

    Raises `FileFormatError` for a file that is no OFX, or that has no statement, or several, of
    the account, or one in another currency, and `UploadTooLargeError`.
    """
    content = file.read(MAX_OFX_BYTES + 1)
    if len(content) > MAX_OFX_BYTES:
        message = f"An OFX file can have {MAX_OFX_BYTES} bytes; split it, or send CSV."
        raise UploadTooLargeError(message)
    file.seek(0)
    root = _tree(file)
    statement = _statement(root, account_number)
    if (found := statement.findtext("CURDEF")) != currency:
        message = f"The statement is in {found}, the account in {currency}."
        raise FileFormatError(message)
    # ofxtools keeps no positions: the n-th movement of the file begins at the n-th tag.
    lines = _starting_lines(content)
    elements = list(root.iter("STMTTRN"))
    if len(lines) != len(elements):
        # A tag within CDATA or a comment: lines cannot be told then.
        lines = [1] * len(elements)
    ours = {id(element) for element in statement.iter("STMTTRN")}
    for line, element in zip(lines, elements, strict=True):
        if id(element) in ours:
            yield _parse(line, element, currency)


def _starting_lines(content: bytes) -> list[int]:
    starts = (match.start() for match in _TRANSACTION.finditer(content))
    breaks = (content.count(b"\n", start, end) for start, end in pairwise([0, *starts]))
    return [1 + above for above in accumulate(breaks)]


def _tree(file: BinaryIO) -> Element:
    from ofxtools.Parser import OFXTree  # noqa: PLC0415 - with the first file: see above

    root: Element | None = None
    # What ofxtools raises depends on where a file is broken: SyntaxError and ValueError for
    # headers and tags, IndexError and AssertionError for tags that do not match.
    with suppress(SyntaxError, ValueError, IndexError, AssertionError):
        root = OFXTree().parse(file)
    # A file that ends after its header has no root.
    if root is None:
        message = "The file is not OFX, or is broken."
        raise FileFormatError(message)
    return root


def _statement(root: Element, account_number: str | None) -> Element:
    statements = [
        statement
        for tag in ("STMTRS", "CCSTMTRS")
        for statement in root.iter(tag)
        if account_number is None or account_number in {e.text for e in statement.iter("ACCTID")}
    ]
    if len(statements) != 1:
        whose = "" if account_number is None else f" of account {account_number}"
        message = f"The file has {len(statements)} statements{whose} instead of one."
        raise FileFormatError(message)
    return statements[0]


def _parse(line: int, element: Element, currency: str) -> ParsedLine | BadRow:
    from ofxtools.models.bank.stmt import STMTTRN  # noqa: PLC0415 - as in _tree
    from ofxtools.models.base import Aggregate  # noqa: PLC0415 - as in _tree

    try:
        movement = Aggregate.from_etree(element)
    except (ValueError, TypeError, SyntaxError, ArithmeticError) as error:
        return BadRow(line=line, reason=f"is not as OFX demands: {error}")
    if not isinstance(movement, STMTTRN):
        message = f"ofxtools made {movement!r} of a STMTTRN"
        raise TypeError(message)
    name = movement.name or (movement.payee.name if movement.payee is not None else None)
    try:
        return checked_line(
            line,
            _booking_date(element),
            movement.trnamt,
            " ".join(text for text in (name, movement.memo) if text),
            movement.fitid,
            currency,
        )
    except RowError as error:
        return BadRow(line=line, reason=str(error))


def _booking_date(element: Element) -> dt.date:
    # ofxtools has checked it, but converts to UTC: midnight in Berlin would be the day before.
    return dt.datetime.strptime(element.findtext("DTPOSTED", "")[:8], "%Y%m%d").date()  # noqa: DTZ007
