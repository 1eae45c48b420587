"""The source of a test module, with markers: a tree in, bytes out, no files.

A new marker stands directly after the other decorators: pytest takes the marker that is closest to
the function, so that it wins over one that cannot be recognised here (`@slow_and_committing`).

This module and the next import libcst, which is optional and takes 0.6 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import libcst as cst

from . import _pytest_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

UNREADABLE: Final = (cst.ParserSyntaxError, SyntaxError, UnicodeDecodeError)
"""No Python; an encoding that does not exist; bytes that are not of the file's encoding."""

BRANCHES: Final = (  # of compound statements, with suites of their own
    cst.If,
    cst.Else,
    cst.ExceptHandler,
    cst.ExceptStarHandler,
    cst.Finally,
    cst.MatchCase,
)

Names: TypeAlias = tuple[str, ...]


def read(source: bytes) -> cst.Module:
    """Parse a module.

    Raises:
        UNREADABLE: one of these; the source cannot be read as Python.
    """
    return cst.parse_module(source)


def marked(module: cst.Module, wanted: Mapping[Names, str]) -> tuple[bytes, list[Names]]:
    """Return a module's source with a marker on each function, and the functions not found.

    Args:
        module: A test module.
        wanted: For each function the isolation that its marker is to name.
    """
    functions = {names: list(_functions(module.body, names)) for names in wanted}
    wanting = {test: wanted[names] for names, found in functions.items() for test in found}
    known = _pytest_names.bound(_flat(module.body))
    spelling = _pytest_names.mark(_before(module.body, wanting))
    decorators: dict[cst.FunctionDef, list[cst.Decorator]] = {}
    is_spelt = False
    for function, isolation in wanting.items():
        marker = cst.ensure_type(
            cst.parse_expression(f'{spelling or "pytest.mark"}.db(isolation="{isolation}")'),
            cst.Call,
        )
        decorators[function] = _decorated(function, marker, known)
        is_spelt |= any(decorator.decorator is marker for decorator in decorators[function])
    after = cst.ensure_type(module.visit(_Decorating(decorators)), cst.Module)
    if is_spelt and spelling is None:
        after = _pytest_names.with_import(after)
    return after.bytes, [names for names, found in functions.items() if not found]


class _Decorating(cst.CSTTransformer):
    """Give functions their new decorators."""

    def __init__(self, decorators: Mapping[cst.FunctionDef, Sequence[cst.Decorator]]) -> None:
        super().__init__()
        self._decorators = decorators

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:  # noqa: ARG002, N802  # libcst's
        return False  # no test is defined within a function

    def leave_FunctionDef(  # noqa: N802  # libcst's name
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        decorators = self._decorators.get(original_node, updated_node.decorators)
        return updated_node.with_changes(decorators=decorators)


def _decorated(
    function: cst.FunctionDef, marker: cst.Call, known: _pytest_names.Bound
) -> list[cst.Decorator]:
    """Return a function's decorators with the marker, in place of the one that holds now."""
    decorators = list(function.decorators)
    for index, decorator in reversed([*enumerate(decorators)]):
        now = known.marker(decorator.decorator)
        if now is None:
            continue
        if _isolation(now) != _isolation(marker):
            # A marker kept under a name, `@committing`, serves other tests as well.
            is_here = now is decorator.decorator
            new = _with_isolation(now, marker) if is_here else marker
            decorators[index] = decorator.with_changes(decorator=new)
        return decorators
    return [*decorators, cst.Decorator(marker)]


def _isolation_argument(marker: cst.Call) -> cst.Arg | None:
    keywords = (arg for arg in marker.args if arg.keyword and arg.keyword.value == "isolation")
    return next(keywords, None)


def _isolation(marker: cst.Call) -> object:
    argument = _isolation_argument(marker)
    value = argument.value if argument else None
    return value.evaluated_value if isinstance(value, cst.SimpleString) else None


def _with_isolation(now: cst.Call, marker: cst.Call) -> cst.Call:
    """Return a marker with another's isolation, as much as it was as can be."""
    argument = _isolation_argument(now)
    if argument is None:
        return now.with_changes(args=marker.args)
    quote = argument.value.quote if isinstance(argument.value, cst.SimpleString) else '"'
    isolation = cst.SimpleString(f"{quote}{_isolation(marker)}{quote}")
    return now.with_deep_changes(argument, value=isolation)


def _before(
    body: Sequence[cst.BaseStatement], functions: Iterable[cst.FunctionDef]
) -> Iterator[cst.BaseStatement]:
    """Yield the statements of a module that have run when the first of the functions is defined."""
    defined = set(functions)
    for statement in body:
        if defined & set(_all_functions(statement)):
            return
        yield statement


def _all_functions(statement: cst.CSTNode) -> Iterator[cst.FunctionDef]:
    if isinstance(statement, cst.FunctionDef):
        yield statement
    else:
        for suite in _suites(statement):
            for inner in suite:
                yield from _all_functions(inner)


def _flat(block: Iterable[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    """Yield all statements of a module's scope, those in an `if` or a `try` as well."""
    for statement in block:
        yield statement
        if not isinstance(statement, cst.FunctionDef | cst.ClassDef):
            for suite in _suites(statement):
                yield from _flat(suite)


def _functions(block: Iterable[cst.CSTNode], names: Names) -> Iterator[cst.FunctionDef]:
    """Yield the definitions of a function, one of which pytest runs."""
    for definition in _definitions(block, names[0]):
        if isinstance(definition, cst.FunctionDef) and len(names) == 1:
            yield definition
        elif isinstance(definition, cst.ClassDef) and len(names) > 1:
            yield from _functions(definition.body.body, names[1:])


def _definitions(
    block: Iterable[cst.CSTNode], name: str, before: Iterable[cst.CSTNode] = ()
) -> list[cst.CSTNode]:
    """Return what a name may be at the end of a block: several things, after an `if`."""
    now = list(before)
    for statement in block:
        match statement:
            case cst.FunctionDef() | cst.ClassDef():
                if statement.name.value == name:
                    now = [statement]
            case cst.If(body=body, orelse=orelse):
                otherwise = _definitions(_alternative(orelse), name, now)
                now = [*dict.fromkeys((*_definitions(body.body, name, now), *otherwise))]
            case _:
                for suite in _suites(statement):
                    now = [*dict.fromkeys((*now, *_definitions(suite, name)))]
    return now


def _alternative(orelse: cst.If | cst.Else | None) -> Sequence[cst.CSTNode]:
    if isinstance(orelse, cst.Else):
        return orelse.body.body
    return [orelse] if orelse else []


def _suites(statement: cst.CSTNode) -> Iterator[Sequence[cst.CSTNode]]:
    """Yield the blocks of a compound statement: of a `try` also those of its handlers."""
    for part in statement.children:
        if isinstance(part, cst.BaseSuite):
            yield part.body
        elif isinstance(part, BRANCHES):
            yield from _suites(part)
