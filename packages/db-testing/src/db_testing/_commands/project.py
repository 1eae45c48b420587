"""What a project has that concerns its database: tables, migrations, engines, sessions."""

from __future__ import annotations

import ast
import configparser
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import SetupError
from . import url_setting
from .sources import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from .url_setting import UrlSetting

DECLARATIVE: Final = {
    "sqlalchemy.orm.DeclarativeBase",
    "sqlalchemy.orm.DeclarativeBaseNoMeta",
}
BASE_MAKERS: Final = {
    "sqlalchemy.orm.declarative_base",
    "sqlalchemy.ext.declarative.declarative_base",
    "sqlalchemy.ext.declarative.api.declarative_base",
}
READY_MADE: Final = ("advanced_alchemy.base.", "sqlmodel.SQLModel", "sqlmodel.main.SQLModel")
"""Bases of libraries, whose metadata hold the project's tables."""

METADATA: Final = {"sqlalchemy.MetaData", "sqlalchemy.schema.MetaData"}
TABLE: Final = {"sqlalchemy.Table", "sqlalchemy.schema.Table"}

ENGINE_MAKERS: Final = {
    "sqlalchemy.ext.asyncio.create_async_engine",
    "sqlalchemy.ext.asyncio.engine.create_async_engine",
    "sqlalchemy.create_engine",
    "sqlalchemy.engine.create_engine",
    "sqlmodel.create_engine",
}
SYNCHRONOUS: Final = {
    "sqlalchemy.orm.sessionmaker",
    *(name for name in ENGINE_MAKERS if name.endswith(".create_engine")),
}

SESSION_MAKERS: Final = {
    "sqlalchemy.ext.asyncio.async_sessionmaker",
    "sqlalchemy.orm.sessionmaker",
}
SCOPED: Final = {
    "sqlalchemy.ext.asyncio.async_scoped_session",
    "sqlalchemy.orm.scoped_session",
}
"""Those whose sessionmaker may have no other name."""


@dataclass(frozen=True, slots=True)
class Object:
    """Something at the top of a module."""

    module: str
    name: str
    source: Source
    is_metadata: bool = False
    """Whether it is a MetaData, rather than a class that has one."""
    is_synchronous: bool = False
    """Whether it was made for a synchronous driver."""

    @property
    def dotted(self) -> str:
        """As settings name it."""
        return f"{self.module}:{self.name}"


@dataclass(frozen=True, slots=True)
class Migrations:
    """Alembic's configuration."""

    file: Path
    url: UrlSetting | None
    """What the migrations' env.py reads the URL from, if that is not Alembic's own setting."""


@dataclass(frozen=True, slots=True)
class Project:
    """What was found."""

    folder: Path
    bases: Sequence[Object]
    """Declarative bases, or MetaData of SQLAlchemy Core."""
    models: Sequence[Source]
    """The modules whose import fills their metadata."""
    engines: Sequence[Object]
    sessionmakers: Sequence[Object]
    migrations: Migrations | None

    @property
    def roots(self) -> list[Path]:
        """From where the application is imported."""
        used = [each.source for each in (*self.bases, *self.engines, *self.sessionmakers)]
        return list(dict.fromkeys(source.root for source in (*used, *self.models)))


def look(folder: Path, sources: Sequence[Source]) -> Project:
    """Find out what a project has."""
    ours = [
        source for source in sources if not source.is_test and "migrations" not in source.path.parts
    ]
    bases = dict(_bases(ours))
    mapped = list(_mapped(ours, bases))
    used = [base for base, _ in mapped]
    models = list({source.name: source for _, source in mapped}.values())
    needed = [*models, *(each.source for each in bases.values())]
    needed += [source for source in ours if _is_imported(source, sources)]
    return Project(
        folder=folder,
        # One from which nothing is derived may be a mixin, or left over.
        bases=[each for name, each in bases.items() if name in used] or list(bases.values()),
        models=models,
        engines=_of_application(_made(ours, ENGINE_MAKERS), needed),
        sessionmakers=_of_application(_made(ours, SESSION_MAKERS), needed),
        migrations=_migrations(folder, sources),
    )


def _is_imported(source: Source, sources: Sequence[Source]) -> bool:
    """Tell whether another module imports it, or something of it."""
    within = f"{source.name}."
    return any(
        f"{name}.".startswith(within)
        for other in sources
        if other is not source
        for name in other.needs
    )


def _of_application(found: Iterable[Object], needed: Sequence[Source]) -> list[Object]:
    """Leave out what scripts make that nothing imports, unless there is nothing else."""
    everything = list(found)
    return [each for each in everything if each.source in needed] or everything


def _bases(sources: Sequence[Source]) -> Iterator[tuple[str, Object]]:
    """Find what tables are collected by, with its full name."""
    for source in sources:
        for node in source.tree.body:
            match node:
                case ast.ClassDef(name=name, bases=bases):
                    origins = {source.origin(base) for base in bases}
                    if origins & DECLARATIVE:
                        yield f"{source.name}.{name}", Object(source.name, name, source)
                    for origin in origins:
                        if origin.startswith(READY_MADE):
                            module, _, of_library = origin.rpartition(".")
                            yield origin, Object(module, of_library, source)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=func)) | (
                    ast.AnnAssign(target=ast.Name(id=name), value=ast.Call(func=func))
                ) if source.origin(func) in BASE_MAKERS | METADATA:
                    is_metadata = source.origin(func) in METADATA
                    yield f"{source.name}.{name}", Object(source.name, name, source, is_metadata)
                case _:
                    pass


def _mapped(sources: Sequence[Source], bases: dict[str, Object]) -> Iterator[tuple[str, Source]]:
    """Find tables, each with the full name of its base."""
    derived = _derived(sources, bases)
    for source in sources:
        for node in source.tree.body:
            match node:
                case ast.ClassDef(name=name) if (full := f"{source.name}.{name}") in derived:
                    if full not in bases:
                        yield derived[full], source
                case ast.Assign(value=ast.Call() as call) | ast.AnnAssign(value=ast.Call() as call):
                    if source.origin(call.func) in TABLE and len(call.args) > 1:
                        yield source.origin(call.args[1]), source
                case _:
                    pass


def _derived(sources: Sequence[Source], bases: dict[str, Object]) -> dict[str, str]:
    """Return the full names of all classes that come from bases, each with that of its base."""
    derived = {name: name for name in bases}
    classes = [
        (f"{source.name}.{node.name}", [source.origin(each) for each in node.bases])
        for source in sources
        for node in source.tree.body
        if isinstance(node, ast.ClassDef)
    ]
    before = -1
    while len(derived) > before:
        before = len(derived)
        for name, parents in classes:
            known = [derived[parent] for parent in parents if parent in derived]
            if known:
                derived.setdefault(name, known[0])
    return derived


def _made(sources: Sequence[Source], makers: set[str]) -> Iterator[Object]:
    """Find objects that calls have made, and functions that return what such a call makes."""
    for source in sources:
        for node in source.tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) | (
                    ast.AnnAssign(target=ast.Name(id=name), value=ast.Call() as call)
                ) if (made := _within(source, call)) in makers and not _is_elsewhere(call):
                    synchronous = made in SYNCHRONOUS and not _is_of_async_sessions(source, call)
                    yield Object(source.name, name, source, is_synchronous=synchronous)
                case ast.FunctionDef(name=name, args=arguments, body=body) if not _needs_any(
                    arguments
                ) and _returns(source, body, makers):
                    yield Object(source.name, name, source)
                case _:
                    pass


def _is_of_async_sessions(source: Source, call: ast.Call) -> bool:
    """Tell whether a sessionmaker is told to make asynchronous sessions, as before 2.0."""
    return any(
        option.arg == "class_" and source.origin(option.value).endswith("AsyncSession")
        for option in call.keywords
    )


def _within(source: Source, call: ast.Call) -> str:
    """Return what is called, or, to make what is kept for each scope, is called within."""
    match call.args:
        case [ast.Call() as inner, *_] if source.origin(call.func) in SCOPED:
            return source.origin(inner.func)
        case _:
            return source.origin(call.func)


def _needs_any(arguments: ast.arguments) -> bool:
    """Tell whether a function cannot be called without an argument."""
    positional = len(arguments.posonlyargs) + len(arguments.args)
    return positional > len(arguments.defaults) or None in arguments.kw_defaults


def _returns(source: Source, body: Sequence[ast.stmt], makers: set[str]) -> bool:
    return any(
        isinstance(node, ast.Return)
        and isinstance(node.value, ast.Call)
        and source.origin(node.value.func) in makers
        and not _is_elsewhere(node.value)
        for statement in body
        for node in ast.walk(statement)
    )


def _is_elsewhere(call: ast.Call) -> bool:
    """Tell whether an engine is made for another kind of database."""
    match call.args:
        case [ast.Constant(value=str(url)), *_]:
            return not url.startswith("postgres")
        case _:
            return False


# ---------------------------------------------------------------------------------------- Alembic


def _migrations(folder: Path, sources: Sequence[Source]) -> Migrations | None:
    files = (folder / "alembic.ini", *sorted(folder.glob("*/alembic.ini")))
    for file in (*files, folder / "pyproject.toml"):
        if file.is_file() and (where := _script_location(file)) is not None:
            location = where.replace("%(here)s", str(file.parent))
            env = (file.parent / location / "env.py").resolve()
            source = next((each for each in sources if each.path.resolve() == env), None)
            url = None if source is None else url_setting.found(source, ENGINE_MAKERS)
            return Migrations(file, url)
    return None


def _script_location(file: Path) -> str | None:
    """Return the folder of the migrations, if the file is about any."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".toml":
            table = tomllib.loads(text).get("tool", {}).get("alembic")
            return None if table is None else str(table.get("script_location", "alembic"))
        parser = configparser.RawConfigParser()
        parser.read_string(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, configparser.Error) as error:
        why = str(error).replace("\n", " ")
        raise SetupError(f"{file} cannot be read: {why}. Mend it, and try again.") from error
    return parser.get("alembic", "script_location", fallback="alembic")
