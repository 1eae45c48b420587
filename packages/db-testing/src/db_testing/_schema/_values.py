"""Texts that say what a value is: other ones for other values, and the same in each process.

What `repr` says may hold addresses, or a set in the order of this process. And of a function or an
object it does not say what it was made with.

Of an object whose class is installed it is all that is looked at: behind it there may be anything,
such as caches, and that it stays the same is nobody's promise.
"""

from __future__ import annotations

import functools
import re
import sys
import types
from pathlib import Path
from typing import Any, Final

from ._imports import is_installed

_OF_TESTS: Final = {"_pytest", "unittest"}
"""Packages of objects that a fixture may hold, such as its request."""
_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, type(...))


def without_addresses(text: str) -> str:
    """Leave out where objects lie in memory: it is no part of what they are."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


class Description:
    """A value's text, and the files in which what it is made of stands."""

    def __init__(self, value: Any) -> None:
        self.sources: set[Path] = set()
        self._known: dict[int, int] = {}
        self._kept: list[Any] = []
        self.text = self._text(value)

    def _text(self, value: Any) -> str:
        kind = type(value)
        if kind in _PLAIN:
            return repr(value)
        # Whether equal constants are one object differs between processes.
        if kind not in (tuple, frozenset, types.CodeType):
            if id(value) in self._known:
                return f"<{self._known[id(value)]}>"
            self._known[id(value)] = len(self._known)
            self._kept.append(value)  # else another one might get its address
        return f"{kind.__qualname__}({', '.join(self._parts(value))})"

    def _parts(self, value: Any) -> list[str]:
        if isinstance(value, (set, frozenset)):
            return sorted(map(self._text, value))
        if _is_plain(value):
            return [repr(value)]  # ten times as fast, where there are many
        return [self._text(part) for part in self._made_of(value)]

    def _made_of(self, value: Any) -> list[Any]:  # noqa: PLR0911  # one for each kind
        match value:
            case types.CodeType():
                return [value.co_code, value.co_names, value.co_consts]
            case types.FunctionType():
                self._note(value.__code__.co_filename)
                defaults = [value.__defaults__, value.__kwdefaults__]
                name = f"{value.__module__}.{value.__qualname__}"
                return [name, value.__code__, *defaults, *enclosed_by(value), vars(value)]
            case types.MethodType():
                return [value.__func__, value.__self__]
            case functools.partial():
                return [value.func, value.args, value.keywords]
            case type():
                self._note(_file_of(value.__module__))
                return [f"{value.__module__}.{value.__qualname__}"]
            case types.ModuleType():
                self._note(_file_of(value.__name__))
                return [value.__name__]
            case dict():
                return [*value.items()]
            case list() | tuple():
                return [*value]
            case _:
                return [type(value), *self._state(value)]

    def _state(self, value: Any) -> list[Any]:
        kind = type(value)
        if kind.__module__.partition(".")[0] in _OF_TESTS:
            return []  # whatever it says is of this run, or of the test that came first
        file = _file_of(kind.__module__)
        if file is None or is_installed(Path(file)):
            wrapped = getattr(value, "__dict__", {}).get("__wrapped__")  # as a cache has it
            return [without_addresses(repr(value)), wrapped]
        state = [object.__getstate__(value)]
        shown = next(vars(each)["__repr__"] for each in kind.__mro__ if "__repr__" in vars(each))
        if isinstance(shown, types.WrapperDescriptorType) and shown is not object.__repr__:
            state.append(without_addresses(repr(value)))  # as of what derives from a date
        return state

    def _note(self, file: str | None) -> None:
        if file is not None and not is_installed(path := Path(file)) and path.is_file():
            self.sources.add(path.resolve())


def _is_plain(value: Any) -> bool:
    """Tell whether a container holds nothing but numbers, texts and the like."""
    kind = type(value)  # what derives from it may say anything of itself
    if kind is dict:
        return all(type(each) in _PLAIN for pair in value.items() for each in pair)
    return kind in (list, tuple) and all(type(each) in _PLAIN for each in value)


def enclosed_by(function: types.FunctionType) -> list[Any]:
    """Return what a function has from around it: the cell itself where nothing is assigned yet."""
    return [_content(cell) for cell in function.__closure__ or ()]


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return cell


def _file_of(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)
