"""Fixtures of a hand-written conftest that db-testing's replace, and how."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from .._plugin import _probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .sources import Source

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

FIXTURES: Final = {"pytest.fixture", "pytest_asyncio.fixture", "pytest_asyncio.plugin.fixture"}

ENGINES: Final = {"create_async_engine", "create_engine"}
BUILDS: Final = {"create_all", "drop_all"}
EMPTIES: Final = ("TRUNCATE ", "DELETE FROM", "DROP SCHEMA", "CREATE DATABASE", "DROP DATABASE")
SESSIONMAKERS: Final = {"async_sessionmaker", "sessionmaker"}
SESSIONS: Final = {"AsyncSession", "Session", *SESSIONMAKERS}
ASYNCHRONOUS: Final = {"create_async_engine", "async_sessionmaker", "AsyncSession"}


@dataclass(frozen=True, slots=True)
class OldFixture:
    """A fixture that is to go, by hand: nobody else knows what else it is for."""

    where: str
    """File and line."""
    name: str
    why: str
    how: str

    @property
    def builds(self) -> bool:
        """Whether it makes the tables from metadata."""
        return self.why.endswith("builds the schema")


def find(sources: Sequence[Source]) -> list[OldFixture]:
    """Find them, in the order of their files and lines."""
    return [found for source in sources for found in _of(source)]


def _of(source: Source) -> Iterator[OldFixture]:
    for name, node in _fixtures(source):
        judged = _judge(node, name)
        if judged is not None:
            yield OldFixture(f"{source.path}:{node.lineno}", name, *judged)


def defines(source: Source, name: str) -> bool:
    """Tell whether a module defines a fixture."""
    return any(name == each for each, _ in _fixtures(source))


def _fixtures(source: Source) -> Iterator[tuple[str, Function]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if source.origin(called) in FIXTURES:
                    yield _name(node, decorator), node


def _name(node: Function, decorator: ast.expr) -> str:
    if isinstance(decorator, ast.Call):
        for keyword in decorator.keywords:
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return node.name


def _judge(node: Function, name: str) -> tuple[str, str] | None:
    """Say why a fixture is to go, and what takes its place; None if it may stay."""
    if name in _probe.MEANT_FOR_IT:
        return None
    if name == _probe.LOOP:
        return (
            "pytest-asyncio 1 does not ask for it",
            "Remove it: database tests share the session's event loop by themselves.",
        )
    if name in _probe.OURS:
        return (
            "it hides db-testing's fixture of the same name",
            f"Remove it; tests then get db-testing's {name}.",
        )
    return _judge_work(node, name)


def _judge_work(node: Function, name: str) -> tuple[str, str] | None:
    called = {_last(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)}
    called |= {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    texts = " ".join(
        str(each.value).upper()
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    )
    given = _given(node)
    synchronous = isinstance(node, ast.FunctionDef) and not called & ASYNCHRONOUS
    ours, engine = ("db_sync", "db_sync_engine") if synchronous else ("db", "db_engine")
    builds = ", and builds the schema" if called & BUILDS else ""
    scope = _scope(node)
    if _hands_out_sessionmaker(node):
        how = (
            _alias(name, engine, f"sessionmaker({engine})", scope)
            if synchronous
            else _alias(name, "db_sessionmaker", scope=scope)
        )
        return (f"it makes a sessionmaker{builds}", how)
    if called & ENGINES and not (given and called & SESSIONS):
        return (f"it makes an engine{builds}", _alias(name, engine, scope=scope))
    if (given or called & BUILDS) and called & SESSIONS:
        return (f"it makes a session{builds}", _alias(name, ours))
    if called & BUILDS:
        return (
            "it builds the schema",
            "Remove it: db-testing builds a template once, and copies it for each worker.",
        )
    if any(text in texts for text in EMPTIES):
        return ("it empties or drops tables", "Remove it: db-testing undoes each test.")
    return None


def _given(node: Function) -> bool:
    """Whether it hands out a session: by its annotation, or by its name."""
    annotation = ast.unparse(node.returns) if node.returns is not None else ""
    return ("Session" in annotation and "sessionmaker" not in annotation) or "session" in node.name


def _last(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _hands_out_sessionmaker(node: Function) -> bool:
    """Whether what it returns or yields is a sessionmaker, made there or just before."""
    made = {
        target.id
        for each in ast.walk(node)
        if isinstance(each, ast.Assign) and _makes_sessionmaker(each.value)
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    return any(
        _makes_sessionmaker(each.value)
        or (isinstance(each.value, ast.Name) and each.value.id in made)
        for each in ast.walk(node)
        if isinstance(each, ast.Return | ast.Yield)
    )


def _makes_sessionmaker(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and _last(value.func) in SESSIONMAKERS


def _scope(node: Function) -> str:
    """Return the argument with which it is kept for more than a test, which others rely on."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call):
            for keyword in decorator.keywords:
                if keyword.arg == "scope" and isinstance(keyword.value, ast.Constant):
                    return f'(scope="{keyword.value.value!s}")'
    return ""


def _alias(name: str, ours: str, value: str | None = None, scope: str = "") -> str:
    return (
        f"Let the tests ask for {ours}, or keep the name:\n"
        f"    @pytest.fixture{scope}\n    def {name}({ours}):\n        return {value or ours}"
    )
