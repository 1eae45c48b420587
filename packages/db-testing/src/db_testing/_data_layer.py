"""What `db_layer()` returns: a context manager that only asynchronous code can use."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NoReturn

from .errors import DataLayerError

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncSession


class DataLayer(AbstractAsyncContextManager["AsyncSession"]):
    """A data layer, which tells synchronous code how to have one."""

    def __init__(self, layer: AbstractAsyncContextManager[AsyncSession]) -> None:
        """Begin nothing yet."""
        self._layer = layer

    async def __aenter__(self) -> AsyncSession:
        return await self._layer.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._layer.__aexit__(kind, error, traceback)

    def __enter__(self) -> NoReturn:
        raise DataLayerError(
            "`with db_layer()` was used in synchronous code, and a data layer is written by an "
            "AsyncSession. Write `async with db_layer() as session` in an `async def` fixture of "
            "class, module or session scope: synchronous tests (db_sync) of that scope begin with "
            "its rows too."
        )

    def __exit__(self, *_: object) -> NoReturn:
        raise NotImplementedError  # never entered
