"""Rows that every test begins with: written once, into a template.

What the function does is not known without calling it. So its fingerprint is of what it was made
with, and of the files that its rows may have come from: its own, what this imports, and all else in
the packages of these, but for installed ones.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import os
import traceback
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..errors import SchemaError
from ._imports import Imports
from ._values import Description

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    SeedFunction: TypeAlias = Callable[[AsyncSession], Awaitable[None]] | Callable[[Session], None]
    """Writes rows; what it leaves uncommitted is committed for it."""

_IRRELEVANT: Final = {".pyc", ".so", ".pyd"}
_FOREIGN: Final = {"__pycache__", "node_modules"}


def fingerprint(seed: SeedFunction) -> str:
    """Return a text that changes whenever the function may write something else.

    Raises:
        SchemaError: it has no source.
    """
    function = _unwrapped(seed)
    try:
        source = Path(inspect.getfile(function)).resolve(strict=True)
    except (TypeError, FileNotFoundError) as error:
        raise SchemaError(
            f"seed={seed!r} has no source that would tell when it changes ({error}). Give a "
            f"function of a module."
        ) from error
    try:
        description = Description(seed)
    except RecursionError as error:
        raise SchemaError(
            f"seed={seed!r} is made with something so deep that nothing tells when it changes. Let "
            f"the function make it, or read it from a file beside it."
        ) from error
    digest = hashlib.sha256(description.text.encode())
    for path in sorted({source, *_files(function, description.sources)}):
        place = os.path.relpath(path, source.parent)  # wherever the checkout lies
        digest.update(os.fsencode(place) + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _unwrapped(seed: Any) -> Any:
    """Return the function beneath partial objects and decorators."""
    while isinstance(seed, functools.partial):
        seed = seed.func
    return inspect.unwrap(seed)


def _files(function: Any, sources: set[Path]) -> set[Path]:
    imports = Imports()
    # Of these some may not have been imported by a statement.
    names = {function.__module__, *_modules(function)}
    reached = imports.reached(sources.union(*map(imports.module, names)))
    return reached.union(*map(_all_in, imports.packages))


def _modules(function: Any) -> Iterator[str]:
    for value in list(getattr(function, "__globals__", {}).values()):
        name = value.__name__ if isinstance(value, types.ModuleType) else None
        name = name or getattr(value, "__module__", None)
        if isinstance(name, str):
            yield name


def _all_in(package: Path) -> Iterator[Path]:
    """Return a package's files, data too; if it has no `__init__.py` it may be all of a project."""
    for place, folders, names in os.walk(package):
        folder = Path(place)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _FOREIGN
            and not (folder / name / "pyvenv.cfg").exists()
        ]
        for path in map(folder.joinpath, names):
            hidden = path.name.startswith(".")
            if not hidden and path.suffix not in _IRRELEVANT and path.is_file():
                yield path


def apply(seed: SeedFunction, url: URL) -> None:
    """Call the function with a session of a database, and commit.

    Raises:
        SchemaError: it fails.
    """
    try:
        asyncio.run(_write(seed, url))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise SchemaError(
            f"seed={_unwrapped(seed).__qualname__} failed in {where.filename}, line "
            f"{where.lineno}: {type(error).__name__}: {error}"
        ) from error


async def _write(seed: Any, url: URL) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with AsyncSession(engine) as session:
            if inspect.iscoroutinefunction(_unwrapped(seed)):
                await seed(session)
            else:
                await session.run_sync(seed)
            await session.commit()
    finally:
        await engine.dispose()
