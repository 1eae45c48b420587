"""Endpoints over HTTP."""

import base64
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from jobs.database import RequestSession
from jobs.endpoints import service
from jobs.endpoints.schemas import EndpointChange, EndpointIn, EndpointOut, NewEndpointOut
from jobs.fields import PathId
from jobs.pagination import Page, PageQuery, page

router = APIRouter(prefix="/endpoints", tags=["endpoints"])


@router.post("", status_code=HTTPStatus.CREATED)
async def create(data: EndpointIn, session: RequestSession) -> NewEndpointOut:
    """Add an endpoint. Its secret is shown now and never again."""
    endpoint = await service.create(session, data)
    shown = EndpointOut.model_validate(endpoint)
    secret = "whsec_" + base64.b64encode(endpoint.secret).decode()
    return NewEndpointOut(**shown.model_dump(), signing_secret=secret)


@router.get("")
async def list_all(
    query: Annotated[PageQuery, Query()], session: RequestSession
) -> Page[EndpointOut]:
    """List endpoints, newest first."""
    found = await service.list_page(session, query)
    shown = [EndpointOut.model_validate(endpoint) for endpoint in found]
    return page(shown, [endpoint.id for endpoint in found], query)


@router.get("/{endpoint_id}")
async def get(endpoint_id: PathId, session: RequestSession) -> EndpointOut:
    """Show an endpoint."""
    return EndpointOut.model_validate(await service.get(session, endpoint_id))


@router.patch("/{endpoint_id}")
async def change(endpoint_id: PathId, data: EndpointChange, session: RequestSession) -> EndpointOut:
    """Change an endpoint, or switch it off and on."""
    return EndpointOut.model_validate(await service.change(session, endpoint_id, data))
