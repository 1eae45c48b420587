"""The project's own modules that a file imports, directly and through others.

What is installed is left out: it comes and goes with versions, not with edits. Nothing is imported
to find a module, as that would run it; and nothing is parsed but import statements, which takes a
twentieth of the time that all of a file does, at the start of every run.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import sys
import sysconfig
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STATEMENT: Final = re.compile(
    rb"[ \t]*((?:from[ \t]*\.*[ \t]*[.\w]*[ \t]+import\b|import[ \t])"
    rb"(?:[^\n\\(;]|\\\r?\n|\([^)]*\))*)"
)

_INSTALLED: Final = [
    Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")
]


def is_installed(path: Path) -> bool:
    """Tell whether a file or a folder is of Python itself or of an installed package."""
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts) or any(
        path.is_relative_to(folder) for folder in _INSTALLED
    )


class Imports:
    """What files import, each of them read once."""

    def __init__(self) -> None:
        self.packages: set[Path] = set()
        """Folders of the packages of the project's own that were met, each the outermost."""
        self._imported: dict[Path, frozenset[Path]] = {}
        self._enclosing: dict[Path, tuple[Path, ...]] = {}
        self._found: dict[str, list[Path]] = {}
        self._looked_at: dict[tuple[Path, str], tuple[tuple[Path, ...], Path | None]] = {}

    def reached(self, starts: Iterable[Path]) -> set[Path]:
        """Return some files, with all that are run when these are imported."""
        reached: set[Path] = set()
        left = list(starts)
        while left:
            path = left.pop()
            if path not in reached:
                reached.add(path)
                left += self.imported_by(path)
        return reached

    def module(self, name: str) -> Iterator[Path]:
        """Return the files that are run when a module is imported by its full name."""
        first, _, rest = name.partition(".")
        for place in self._first(first):
            if place.suffix == ".py":
                yield place
            else:
                yield from self._within(place, rest)[0]

    def imported_by(self, path: Path, source: bytes | None = None) -> frozenset[Path]:
        """Return the files that are run when a file is, by its own statements.

        `source` is its content, of whoever has read it already.
        """
        if path not in self._imported:
            found = {*self._before(path)}
            for level, name in _names(path.read_bytes() if source is None else source):
                if level:
                    found.update(self._within(path.parents[level - 1], name)[0])
                else:
                    found.update(self.module(name))
            self._imported[path] = frozenset(found)
        return self._imported[path]

    def _before(self, path: Path) -> tuple[Path, ...]:
        """Return the module of the package that a file is in: it is run before the file."""
        folder = path.parent.parent if path.name == "__init__.py" else path.parent
        if folder not in self._enclosing:
            package = folder / "__init__.py"
            self._enclosing[folder] = (package,) if package.is_file() else ()
        return self._enclosing[folder]

    def _first(self, name: str) -> list[Path]:
        """Return the folders of a package, or the file of a module in none."""
        if name not in self._found:
            # A template that an older db-testing has built is left by its number: FORMAT.
            found = [] if name == "db_testing" else [*map(Path, _places(name))]
            self._found[name] = [each.resolve() for each in found if not is_installed(each)]
            self.packages.update(each for each in self._found[name] if each.is_dir())
        return self._found[name]

    def _within(self, folder: Path, name: str) -> tuple[tuple[Path, ...], Path | None]:
        """Return the files run for a module in a folder, and where modules in this would lie."""
        if (folder, name) not in self._looked_at:
            self._looked_at[folder, name] = self._look(folder, name)
        return self._looked_at[folder, name]

    def _look(self, folder: Path, name: str) -> tuple[tuple[Path, ...], Path | None]:
        files: tuple[Path, ...] = ()
        module = None
        if name:
            enclosing, _, last = name.rpartition(".")
            files, within = self._within(folder, enclosing)
            if within is None:
                return files, None
            module, folder = within / f"{last}.py", within / last
        package = folder / "__init__.py"
        if package.is_file():
            return (*files, package), folder
        if module is not None and module.is_file():
            return (*files, module), None
        return files, folder if folder.is_dir() else None


def _places(name: str) -> list[str]:
    """Return where Python has found a package or a module, or would find it."""
    module = sys.modules.get(name)
    if module is not None:
        folders, file = getattr(module, "__path__", None), getattr(module, "__file__", None)
    else:
        spec = importlib.util.find_spec(name)
        folders = None if spec is None else spec.submodule_search_locations
        file = None if spec is None else spec.origin
    if folders is not None:
        return list(folders)
    return [file] if file is not None and file.endswith(".py") and Path(file).is_file() else []


def _names(source: bytes) -> Iterable[tuple[int, str]]:
    """Return the modules that a source may import, each with the number of dots before it."""
    try:
        return _named(b"\n".join(_found(source)))
    except SyntaxError:  # prose that looks like one, or a bracket in a comment
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whoever imports it will be told
            return _in(ast.walk(ast.parse(source)))
    except SyntaxError:
        return ()


@functools.lru_cache(maxsize=256)
def _named(statements: bytes) -> tuple[tuple[int, str], ...]:
    """Return what statements import: those of most migrations are the same."""
    return tuple(_in(ast.parse(statements).body))


def _in(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = f"{node.module}." if node.module else ""
            # Each may be a module or something in one.
            yield from ((node.level, f"{module}{alias.name}") for alias in node.names)


def _found(source: bytes) -> Iterator[bytes]:
    """Return what looks like an import, also in functions, and behind a colon or a semicolon."""
    at = source.find(b"import")
    while at >= 0:
        begin = max(source.rfind(before, 0, at) for before in (b"\n", b";", b":")) + 1
        match = _STATEMENT.match(source, begin)
        if match is not None:
            yield match[1]
        at = source.find(b"import", at + 1 if match is None else max(at + 1, match.end()))
