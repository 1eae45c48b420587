"""A project's Python files, read and not imported."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SKIPPED: Final = {"node_modules", "__pycache__", "build", "dist", "site-packages", "venv"}
"""Folders in which nothing of the project's own lies."""

MOST: Final = 20_000
"""How many files are looked at: whoever has more is not in a project's folder."""

TESTS: Final = {"tests", "test"}
"""The folders that tests lie in."""


Named: TypeAlias = "Mapping[str, set[str]]"
"""The packages that are imported by absolute names, each with what these name within it."""


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
    needs: frozenset[str] = frozenset()
    """The full names that it imports."""

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
    trees = dict(_parsed(folder))
    named: dict[str, set[str]] = {}
    for path, tree in trees.items():
        for *_, full in _imports(tree, "", path, relative=False):
            package, _, rest = full.partition(".")
            named.setdefault(package, set()).add(rest.partition(".")[0])
    found = []
    for path, tree in trees.items():
        root, name = _import_name(path, folder, named)
        imported = list(_imports(tree, name, path))
        names = {bound: origin for bound, origin, _ in imported}
        needs = frozenset(full for *_, full in imported)
        found.append(Source(path, root, name, tree, names, needs))
    return found


def _parsed(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in _files(folder):
        try:
            yield path, ast.parse(path.read_bytes(), str(path))
        except (OSError, SyntaxError, ValueError):
            continue  # a template of one, or for another Python


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


def _import_name(path: Path, folder: Path, named: Named) -> tuple[Path, str]:
    """Return from where, and as what, a file is imported: as modules do it, or as it looks."""
    parts = path.relative_to(folder).with_suffix("").parts
    above = [folder.joinpath(*parts[:depth]) for depth in range(1, len(parts))]
    package = next((place for place in above if _is_named(place, named)), None)
    if package is None and _is_within_package(folder, named):
        folder, parts = folder.parent, (folder.name, *parts)
        depth = 0
    elif package is not None:
        depth = above.index(package)
    elif "src" in parts[:-1]:
        # Also packages without an `__init__.py` are imported from there.
        depth = parts.index("src") + 1
    else:
        depth = len(parts) - 1
        while depth > 0 and (folder.joinpath(*parts[:depth]) / "__init__.py").exists():
            depth -= 1
    names = parts[depth:-1] if parts[-1] == "__init__" else parts[depth:]
    return folder.joinpath(*parts[:depth]), ".".join(names)


def _is_named(place: Path, named: Named) -> bool:
    """Tell whether some module imports a folder as a package, which needs no `__init__.py`."""
    return any(
        (place / second).is_dir() or (place / f"{second}.py").is_file()
        for second in named.get(place.name, set()) - {""}
    )


def _is_within_package(folder: Path, named: Named) -> bool:
    """Tell whether the folder itself is a package, and not only called like one that it holds."""
    held = (folder / folder.name, folder / "src" / folder.name)
    return _is_named(folder, named) and not any(place.is_dir() for place in held)


def _imports(
    tree: ast.Module, name: str, path: Path, *, relative: bool = True
) -> Iterator[tuple[str, str, str]]:
    """Find what is imported: under which name, what that stands for, and all of its name."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    top = alias.name.partition(".")[0]
                    yield alias.asname or top, alias.name if alias.asname else top, alias.name
            case ast.ImportFrom(module=module, names=aliases, level=level) if relative or not level:
                base = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                origin = ".".join([*base, *([module] if module else [])])
                for alias in aliases:
                    full = f"{origin}.{alias.name}"
                    yield alias.asname or alias.name, full, full
            case _:
                pass
