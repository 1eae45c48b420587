"""What belongs to a virtual connection of asyncpg, and is of no use once that is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import asyncpg

if TYPE_CHECKING:
    from ._virtual import VirtualConnection


class Resource:
    """Something of a connection, which is of no use once that is closed."""

    real_name: ClassVar[str]

    def __init__(self, connection: VirtualConnection) -> None:
        self._connection = connection

    def _check_connection(self, method: str) -> None:
        if self._connection.closed:
            message = (
                f"cannot call {self.real_name}.{method}(): the underlying connection is closed"
            )
            raise asyncpg.InterfaceError(message)
