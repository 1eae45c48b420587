"""What a template's clones are until somebody has touched them.

A template never changes, and its clones have its rows, in its files, by its transactions. So what
there is in a clone is looked at once, and noted with the template: a look at a thousand tables
takes 80 ms, of each process and each run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from .._statements import _catalog, _transaction_identity
from . import _picture
from ._picture import Picture, Rows

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_ASKED: Final = (*_picture.QUESTIONS, *_transaction_identity.QUESTION, _catalog.POSITIONS)
FORM: Final = hashlib.sha256("\n".join(_ASKED).encode()).hexdigest()[:12]
"""Changes with what is asked: what another version of db-testing has noted is no answer."""

_ANSWERED: Final = "SELECT current_setting('search_path'), current_setting('is_superuser')"
"""To whom: names are as they have to be written, and rights decide what is seen."""


@dataclass(frozen=True, slots=True)
class Original:
    """What is in a clone, and what its objects depend on."""

    picture: Picture
    identity: tuple[str, ...]
    """The objects that mention transaction identity."""

    @staticmethod
    async def key(connection: Connection, template: int) -> list[Any]:
        """Return what must be the same for a note to hold; a template is known by its oid."""
        answered = await connection.fetchrow(_ANSWERED)
        assert answered is not None  # noqa: S101  # there is no FROM
        return [FORM, template, *answered]

    @classmethod
    async def look(cls, connection: Connection) -> Original:
        """Look at a clone."""
        return cls(await Picture.take(connection), await _transaction_identity.read(connection))

    @classmethod
    def noted(cls, said: Any, key: list[Any]) -> Original | None:
        """Return what :meth:`note` has made a note of, unless that holds for something else."""
        if not isinstance(said, dict) or said.get("key") != key:
            return None
        sequences = {int(oid): (last, called) for oid, (last, called) in said["sequences"].items()}
        rows, schema = (
            {name: Rows(*each) for name, each in said[kind].items()} for kind in ("rows", "schema")
        )
        return cls(Picture(rows, sequences, schema), tuple(said["identity"]))

    def note(self, key: list[Any]) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "key": key,
            "rows": self.picture.rows,
            "sequences": self.picture.sequences,
            "schema": self.picture.schema,
            "identity": self.identity,
        }

    async def here(self, connection: Connection) -> Original:
        """Return what it is in one clone, whose rows in the server's own catalogs are its own."""
        return replace(self, picture=await self.picture.here(connection))

    @property
    def known(self) -> _catalog.Known | None:
        """What of it the sandbox need not read again; None where this user may not read it all."""
        if any(last is None for last, _ in self.picture.sequences.values()):
            return None
        return _catalog.Known(self.picture.sequences, self.identity)
