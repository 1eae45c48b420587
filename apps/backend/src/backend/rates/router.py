"""Exchange rates over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query

from backend.database import RequestSession
from backend.pagination import Page
from backend.rates import service
from backend.rates.schemas import (
    Conversion,
    ConversionQuery,
    RateImportQuery,
    RateOut,
    RateQuery,
    RatesIn,
    StoredRates,
)
from backend.uploads import ReceivedUpload, documented_upload
from backend.users.authentication import CurrentBook

router = APIRouter(prefix="/rates", tags=["rates"])


@router.put("")
async def store_rates(data: RatesIn, book: CurrentBook, session: RequestSession) -> StoredRates:
    """Store rates, replacing those of the same day and pair."""
    return StoredRates(stored=await service.store(session, book, data))


@router.get("")
async def list_rates(
    query: Annotated[RateQuery, Query()], book: CurrentBook, session: RequestSession
) -> Page[RateOut]:
    """List stored rates, oldest first."""
    rates, next_cursor = await service.page(session, book, query)
    return Page(items=[RateOut.model_validate(rate) for rate in rates], next_cursor=next_cursor)


@router.post("/imports", openapi_extra=documented_upload("text/csv"))
async def import_rates(
    upload: ReceivedUpload,
    query: Annotated[RateImportQuery, Query()],
    book: CurrentBook,
    session: RequestSession,
) -> StoredRates:
    """Store the rates of a CSV file with the columns date, base, quote and rate."""
    stored, bad_rows = await service.import_file(session, book, upload, query.on_error)
    return StoredRates(stored=stored, rejected=bad_rows.count, rows=bad_rows.first)


@router.get("/conversion")
async def show_conversion(
    query: Annotated[ConversionQuery, Query()], book: CurrentBook, session: RequestSession
) -> Conversion:
    """Find a rate: the newest on or before a day, inverted or through a pivot if need be."""
    return await service.conversion(session, book, query)
