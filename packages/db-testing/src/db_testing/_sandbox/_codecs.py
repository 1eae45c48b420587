"""Conversions of types, which an application sets for one connection and many share a wire."""

from __future__ import annotations

import contextlib
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .._schema._values import enclosed_by

if TYPE_CHECKING:
    from ._runtime import Wire


@dataclass(frozen=True, eq=False, slots=True)
class Codec:
    """A conversion of a type that an application asked a connection for."""

    action: Literal["set_type_codec", "set_builtin_type_codec"]
    typename: str
    schema: str
    options: dict[str, Any]

    async def apply(self, wire: Wire) -> None:
        """Set it on a wire."""
        await getattr(wire, self.action)(self.typename, schema=self.schema, **self.options)

    def same_as(self, other: Codec) -> bool:
        """Tell whether two codecs convert alike, also where each has functions of its own."""
        return (self.action, self.typename, self.schema, _meaning(self.options)) == (
            (other.action, other.typename, other.schema, _meaning(other.options))
        )


Codecs: TypeAlias = dict[tuple[str, str], Codec]
"""By the names of the types and of their schemas."""


def _meaning(value: Any, around: tuple[Any, ...] = ()) -> Any:
    """Return what is equal for functions that do the same, such as those made by one other."""
    if isinstance(value, dict):
        return {name: _meaning(item, around) for name, item in value.items()}
    if not isinstance(value, types.FunctionType):
        return value  # a method among them, which is equal to that of the same object only
    if value in around:
        return around.index(value)  # it calls itself
    inside = (*around, value)
    cells = [_meaning(each, inside) for each in enclosed_by(value)]
    return value.__code__, cells, value.__defaults__, value.__kwdefaults__


async def exchange(wire: Wire, present: Codecs, wanted: Codecs) -> None:
    """Give a wire the codecs of the connection whose statement comes next, and note them."""
    unknown_type = contextlib.suppress(ValueError)  # it may have been of an earlier test
    for typename, schema in present.keys() - wanted.keys():
        with unknown_type:
            await wire.reset_type_codec(typename, schema=schema)
        del present[typename, schema]
    for key, codec in wanted.items():
        if present.get(key) is not codec:
            with unknown_type:
                await codec.apply(wire)
            present[key] = codec
