"""What pytest and its markers are called in a module, and where `import pytest` belongs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import libcst as cst
from libcst.helpers import get_full_name_for_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MARKER: Final = "pytest.mark.db"
BLANK: Final = cst.EmptyLine(indent=False)


@dataclass(frozen=True)
class Bound:
    """The names of a module: what they stand for, if they were imported or are short for that."""

    origins: dict[str, str] = field(default_factory=dict)
    markers: dict[str, cst.Call] = field(default_factory=dict)
    """As by `committing = pytest.mark.db(isolation="commit")`."""

    def origin(self, node: cst.CSTNode) -> str | None:
        """Return the full name of an expression such as `pt.mark.db`."""
        name, _, rest = (get_full_name_for_node(node) or "").partition(".")
        origin = self.origins.get(name)
        return f"{origin}.{rest}" if origin and rest else origin

    def marker(self, decorator: cst.BaseExpression) -> cst.Call | None:
        """Return the call that makes a decorator a marker of the database."""
        match decorator:
            case cst.Name(value=name) if name in self.markers:
                return self.markers[name]
            case cst.Call(func=func) if self.origin(func) == MARKER:
                return decorator
            case cst.Name() | cst.Attribute() if self.origin(decorator) == MARKER:
                return cst.Call(decorator)
            case _:
                return None

    def bind(self, name: str, value: cst.BaseExpression | None = None) -> None:
        """Forget what a name stood for, and learn what it stands for now."""
        origin = self.origin(value) if isinstance(value, cst.Name | cst.Attribute) else None
        marker = self.marker(value) if value else None
        self.origins.pop(name, None)
        self.markers.pop(name, None)
        if origin:
            self.origins[name] = origin
        elif marker:
            self.markers[name] = marker


def bound(statements: Iterable[cst.CSTNode]) -> Bound:
    """Return the names that statements bind, in their order."""
    names = Bound()
    for statement in statements:
        match statement:
            case cst.FunctionDef(name=name) | cst.ClassDef(name=name):
                names.bind(name.value)
            case cst.SimpleStatementLine(body=body):
                for part in body:
                    _bind(names, part)
            case _:
                pass
    return names


def _bind(names: Bound, statement: cst.BaseSmallStatement) -> None:
    match statement:
        case cst.Import(names=aliases):
            for alias in aliases:
                full = alias.evaluated_name
                name = alias.evaluated_alias or full.partition(".")[0]
                names.bind(name)
                names.origins[name] = full if alias.asname else name
        case cst.ImportFrom(module=module, relative=relative, names=[*aliases]):
            package = "." * len(relative) + (get_full_name_for_node(module) or "" if module else "")
            for alias in aliases:
                name = alias.evaluated_alias or alias.evaluated_name
                names.bind(name)
                names.origins[name] = f"{package}.{alias.evaluated_name}"
        case cst.Assign(targets=targets, value=value):
            for target in targets:
                if isinstance(target.target, cst.Name):
                    names.bind(target.target.value, value)
        case _:
            pass


def mark(statements: Iterable[cst.CSTNode]) -> str | None:
    """Return how `pytest.mark` is written after these statements, if it can be."""
    origins = bound(statements).origins
    modules = (f"{name}.mark" for name, origin in origins.items() if origin == "pytest")
    marks = (name for name, origin in origins.items() if origin == "pytest.mark")
    return next(modules, None) or next(marks, None)


def with_import(module: cst.Module) -> cst.Module:
    """Return a module with `import pytest` among its imports, sorted as isort and ruff do.

    Whether an import is of the project or of a package from elsewhere cannot be seen: the first
    section after the standard library's is taken for the latter.
    """
    body = list(module.body)
    header = list(module.header)
    start = next((i for i, part in enumerate(body) if not _is_preamble(part, i)), len(body))
    end = next((i for i in range(start, len(body)) if not _imported(body[i])), len(body))
    section = max((i + 1 for i in range(start, end) if _is_standard(body[i])), default=start)
    at = section
    while at < end and _sorts_before_pytest(body[at]) and (at == section or not _blanks(body[at])):
        at += 1
    if at == len(body):  # nothing follows, to which comments or empty lines could belong
        own = [BLANK] if at or (header and header[-1].comment) else []
        return module.with_changes(body=[*body, _pytest_import(own)])
    following = cst.ensure_type(body[at], cst.SimpleStatementLine) if at < end else body[at]
    lines: list[cst.EmptyLine] = list(following.leading_lines)
    if at == 0:
        # Comments on top are the module's, but those directly above a statement are that one's.
        top = max((i + 1 for i, line in enumerate(header) if not line.comment), default=len(header))
        header, lines = header[:top], header[top:] + lines
    own = []
    if at == section and at < end:
        blanks = _blanks(following)
        own, lines = lines[:blanks], lines[blanks:]
    elif at == section and (at > 0 or (header and header[-1].comment)):
        own = [BLANK]
    if at == end and (not lines or lines[0].comment):
        is_definition = isinstance(following, cst.FunctionDef | cst.ClassDef)
        lines = [BLANK] * (2 if is_definition else 1) + lines
    body[at : at + 1] = [_pytest_import(own), following.with_changes(leading_lines=lines)]
    return module.with_changes(header=header, body=body)


def _pytest_import(lines: Sequence[cst.EmptyLine]) -> cst.SimpleStatementLine:
    return cst.SimpleStatementLine([cst.Import([cst.ImportAlias(cst.Name("pytest"))])], lines)


def _is_preamble(statement: cst.BaseStatement, index: int) -> bool:
    """Tell whether a statement is the docstring, or an import that must stand before all others."""
    match statement:
        case cst.SimpleStatementLine(body=[cst.Expr(value=value), *_]):
            return index == 0 and isinstance(value, cst.SimpleString | cst.ConcatenatedString)
        case cst.SimpleStatementLine(body=[cst.ImportFrom(module=cst.Name("__future__")), *_]):
            return True
        case _:
            return False


def _imported(statement: cst.BaseStatement) -> str | None:
    """Return the package that a statement imports; of the project's own, a dot."""
    match statement:
        case cst.SimpleStatementLine(body=[cst.Import(names=[first, *_]), *_]):
            return first.evaluated_name.partition(".")[0]
        case cst.SimpleStatementLine(body=[cst.ImportFrom(module=module, relative=relative), *_]):
            name = get_full_name_for_node(module) if module and not relative else None
            return name.partition(".")[0] if name else "."
        case _:
            return None


def _is_standard(statement: cst.BaseStatement) -> bool:
    return _imported(statement) in sys.stdlib_module_names


def _sorts_before_pytest(statement: cst.BaseStatement) -> bool:
    match statement:
        case cst.SimpleStatementLine(body=[cst.Import(names=[first, *_]), *_]):
            return first.evaluated_name < "pytest"
        case _:
            return False


def _blanks(statement: cst.CSTNode) -> int:
    """Count the empty lines that come before a statement and its comments."""
    lines: Sequence[cst.EmptyLine] = statement.leading_lines  # type: ignore[attr-defined]
    return next((i for i, line in enumerate(lines) if line.comment), len(lines))
