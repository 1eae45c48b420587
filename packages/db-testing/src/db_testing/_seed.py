"""Rows that every test begins with: written once, into a template.

What the function does is not known without calling it. So its fingerprint is of the files that it
may have come from: its own, and all of the packages that its module uses, but for installed ones.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import sys
import sysconfig
import traceback
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    SeedFunction: TypeAlias = Callable[[AsyncSession], Awaitable[None]] | Callable[[Session], None]
    """Writes rows; what it leaves uncommitted is committed for it."""

_INSTALLED: Final = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_COMPILED: Final = {".pyc", ".so", ".pyd"}


def fingerprint(seed: SeedFunction) -> str:
    """Return a text that changes whenever the function may write something else.

    Raises:
        SchemaError: it has no source.
    """
    function, arguments = _unwrapped(seed)
    try:
        source = Path(inspect.getfile(function))
    except TypeError as error:
        raise SchemaError(
            f"seed={seed!r} has no source that would tell when it changes ({error}). Give a "
            f"function of a module."
        ) from error
    digest = hashlib.sha256(f"{function.__qualname__} {arguments}".encode())
    for folder in sorted(_packages(function)):
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(folder)
            hidden = any(part.startswith((".", "__pycache__")) for part in place.parts)
            if path.is_file() and not hidden and path.suffix not in _COMPILED:
                digest.update(bytes(folder.name / place) + b"\0" + path.read_bytes() + b"\0")
    digest.update(source.read_bytes())
    return digest.hexdigest()


def _unwrapped(seed: Any) -> tuple[Any, str]:
    """Return the function beneath partial objects and decorators, and the arguments it has."""
    arguments = ""
    while isinstance(seed, functools.partial):
        arguments += f"{seed.args} {sorted(seed.keywords.items())}"
        seed = seed.func
    return inspect.unwrap(seed), arguments


def _packages(function: Any) -> set[Path]:
    """Return the folders of the packages that a function's module uses, but for installed ones."""
    return {
        folder
        for name in {function.__module__, *_modules(function)}
        if (folder := _folder(name.partition(".")[0])) is not None
    }


def _modules(function: Any) -> Iterator[str]:
    for value in list(getattr(function, "__globals__", {}).values()):
        name = value.__name__ if isinstance(value, types.ModuleType) else None
        name = name or getattr(value, "__module__", None)
        if isinstance(name, str):
            yield name


def _folder(package: str) -> Path | None:
    places = getattr(sys.modules.get(package), "__path__", None)
    found = next(iter(places or ()), None)
    return None if found is None or found.startswith(_INSTALLED) else Path(found)


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
            f"seed={_unwrapped(seed)[0].__qualname__} failed in {where.filename}, line "
            f"{where.lineno}: {type(error).__name__}: {error}"
        ) from error


async def _write(seed: Any, url: URL) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with AsyncSession(engine) as session:
            if inspect.iscoroutinefunction(_unwrapped(seed)[0]):
                await seed(session)
            else:
                await session.run_sync(seed)
            await session.commit()
    finally:
        await engine.dispose()
