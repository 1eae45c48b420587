"""What an Alembic `env.py` takes the URL from, when that is not Alembic's own setting."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .sources import Source

OPTION: Final = "sqlalchemy.url"
AS_TEXT: Final = {"replace", "render_as_string", "get_secret_value", "unicode_string"}
"""Methods that return what they are called on, written otherwise."""

ENVIRONMENT: Final = {"os.environ", "os.environ.get", "os.getenv"}
"""What reads a variable of the environment, by its name."""

DEEPEST: Final = 10
"""How much a name may stand for, which may be itself."""


@dataclass(frozen=True, slots=True)
class UrlSetting:
    """What is put in the place of Alembic's setting."""

    where: str
    """File and line."""
    text: str
    """As it is written there."""
    name: str | None
    """As `url_setting` names it, if it can."""


def found(env: Source, engine_makers: Collection[str]) -> UrlSetting | None:
    """Return what the URL is taken from; None if that is Alembic's setting, or is not seen."""
    for value in _given(env.tree):
        if "get_main_option" not in ast.unparse(_stripped(env, value)):
            return UrlSetting(f"{env.path}:{value.lineno}", ast.unparse(value), _name(env, value))
    # An engine's URL may come from Alembic in more ways than are known here.
    for node in ast.walk(env.tree):
        match node:
            case ast.Call(func=func, args=[value, *_]) if env.origin(func) in engine_makers:
                if name := _name(env, value):
                    return UrlSetting(f"{env.path}:{value.lineno}", ast.unparse(value), name)
            case _:
                pass
    return None


def _given(tree: ast.Module) -> Iterator[ast.expr]:
    """Find what Alembic's setting, or a copy of its section, is set to."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="set_main_option"), args=[ast.Constant(value=option), value]
            ) if option == OPTION:
                yield value
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=option))], value=value):
                if option == OPTION:
                    yield value
            case _:
                pass


def _name(env: Source, value: ast.expr) -> str | None:
    """Return `package.module:settings.database_url` for an expression, if it is one."""
    value = _stripped(env, value)
    match value:
        case (
            ast.Subscript(value=ast.expr() as read, slice=ast.Constant(value=str(name)))
            | ast.Call(func=read, args=[ast.Constant(value=str(name)), *_])
        ) if env.origin(read) in ENVIRONMENT:
            return f"os:environ.{name}"
        case ast.Attribute() | ast.Name():
            return _attribute(env, value)
        case _:
            return None


def _stripped(env: Source, value: ast.expr) -> ast.expr:
    """Return what an expression is made from, through variables, as text or not."""
    for _ in range(DEEPEST):
        value = _followed(env, value)
        match value:
            case ast.Call(func=ast.Name(id="str"), args=[inner]):
                value = inner
            case ast.Call(func=ast.Attribute(value=inner, attr=method)) if method in AS_TEXT:
                value = inner
            case _:
                break
    return value


def _attribute(env: Source, value: ast.expr) -> str | None:
    names, calls = list[str](), ""
    for _ in range(DEEPEST):
        value = _followed(env, value)
        match value:
            # Not of a class, which makes another object each time.
            case ast.Call(func=func, args=[], keywords=[]) if names and not calls:
                value, calls = func, "()"
                if ast.unparse(func) != ast.unparse(func).lower():
                    return None
            case ast.Attribute(value=inner, attr=name):
                names.append(name + calls)
                value, calls = inner, ""
            case ast.Name(id=name):
                module, _, name = env.imported.get(name, "").rpartition(".")
                if module in ("", "alembic"):  # whose context is there while migrations run
                    return None
                return f"{module}:{'.'.join([name + calls, *reversed(names)])}"
            case _:
                return None
    return None


def _followed(env: Source, value: ast.expr) -> ast.expr:
    """Return what a variable of env.py's own stands for, or a function of its own returns."""
    for node in ast.walk(env.tree):
        match node, value:
            case ast.Assign(targets=[ast.Name(id=name)], value=given), ast.Name(id=asked):
                if name == asked:
                    return given
            case (
                ast.FunctionDef(name=name, body=[*_, ast.Return(value=ast.expr() as given)]),
                ast.Call(func=ast.Name(id=asked), args=[], keywords=[]),
            ):
                if name == asked:
                    return given
            case _:
                pass
    return value
