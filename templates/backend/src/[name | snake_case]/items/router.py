"""Items over HTTP."""

from http import HTTPStatus

from fastapi import APIRouter, HTTPException

from {{ name | snake_case }}.database import RequestSession
from {{ name | snake_case }}.items import service
from {{ name | snake_case }}.items.errors import NameTakenError
from {{ name | snake_case }}.items.schemas import ItemIn, ItemOut

router = APIRouter(prefix="/items", tags=["items"])


@router.post("", status_code=HTTPStatus.CREATED)
async def add(data: ItemIn, session: RequestSession) -> ItemOut:
    """Add an item."""
    try:
        item = await service.add(session, data.name)
    except NameTakenError as error:
        raise HTTPException(HTTPStatus.CONFLICT, f"There is an item {str(error)!r}.") from error
    return ItemOut.model_validate(item)


@router.get("")
async def list_all(session: RequestSession) -> list[ItemOut]:
    """List all items."""
    return [ItemOut.model_validate(item) for item in await service.list_all(session)]
