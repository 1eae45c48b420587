"""A project's Python files, read and not imported."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SKIPPED: Final = {"node_modules", "__pycache__", "build", "dist", "site-packages", "venv"}
"""Folders in which nothing of the project's own lies."""

MOST: Final = 20_000
"""How many files are looked at: whoever has more is not in a project's folder."""

TESTS: Final = {"tests", "test"}
"""The folders that tests lie in."""


@dataclass(frozen=True, slots=True)
class Source:
    """A module, and what its names stand for."""

    path: Path
    root: Path
    """The folder from which it is imported."""
    name: str
    """As it is imported."""
    tree: ast.Module
    imported: dict[str, str] = field(default_factory=dict)
    """What was imported under a name, as `sqlalchemy.orm.DeclarativeBase`."""

    @property
    def is_test(self) -> bool:
        """Whether it belongs to the tests."""
        name = self.path.name
        in_tests = not TESTS.isdisjoint(self.path.relative_to(self.root).parts[:-1])
        named = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
        return named or in_tests or self.root.name in TESTS

    def origin(self, node: ast.expr) -> str:
        """Return the full name of an expression such as `orm.DeclarativeBase`; else nothing."""
        match node:
            case ast.Name(id=name):
                return self.imported.get(name, f"{self.name}.{name}")
            case ast.Attribute(value=value, attr=attribute):
                before = self.origin(value)
                return f"{before}.{attribute}" if before else ""
            case ast.Subscript(value=value):
                return self.origin(value)
            case _:
                return ""


def read(folder: Path) -> list[Source]:
    """Read every module below a folder that can be parsed, in the order of their paths."""
    found = []
    for path in _files(folder):
        try:
            tree = ast.parse(path.read_bytes(), str(path))
        except (OSError, SyntaxError, ValueError):
            continue  # a template of one, or for another Python
        root, name = _import_name(path, folder)
        found.append(Source(path, root, name, tree, dict(_imports(tree, name, path))))
    return found


def _files(folder: Path) -> Iterator[Path]:
    count = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith(".")
            and each not in SKIPPED
            and not (Path(place) / each / "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            if name.endswith(".py"):
                count += 1
                if count > MOST:
                    return
                yield Path(place) / name


def _import_name(path: Path, folder: Path) -> tuple[Path, str]:
    """Return from where, and as what, a file is imported."""
    parts = path.relative_to(folder).with_suffix("").parts
    if "src" in parts[:-1]:
        # Also packages without an `__init__.py` are imported from there.
        depth = parts.index("src") + 1
    else:
        depth = len(parts) - 1
        while depth > 0 and (folder.joinpath(*parts[:depth]) / "__init__.py").exists():
            depth -= 1
    names = parts[depth:-1] if parts[-1] == "__init__" else parts[depth:]
    return folder.joinpath(*parts[:depth]), ".".join(names)


def _imports(tree: ast.Module, name: str, path: Path) -> Iterator[tuple[str, str]]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    top = alias.name.partition(".")[0]
                    yield alias.asname or top, alias.name if alias.asname else top
            case ast.ImportFrom(module=module, names=aliases, level=level):
                base = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                origin = ".".join([*base, *([module] if module else [])])
                for alias in aliases:
                    yield alias.asname or alias.name, f"{origin}.{alias.name}"
            case _:
                pass
