"""The `conftest.py` that says what is in the database: a new one, or lines for what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import libcst as cst

from .._plugin import _pytest_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .project import Project

FIXTURE: Final = "db_schema"

NEW: Final = '''"""What the tests share."""

import pytest
'''

BODY: Final = '''@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Return what the database must look like."""
    return {schema}
'''


def written(project: Project, before: str | None) -> str:
    """Return the text of a `conftest.py`, given what it has been, which stays as it is.

    Raises:
        libcst.ParserSyntaxError: it is no Python.
    """
    module = cst.parse_module(NEW if before is None else before)
    names = _pytest_names.bound(module.body).origins
    if names.get("pytest") != "pytest":
        module = _pytest_names.with_import(module)
    lines = _imports(project, names)
    body = list(module.body)
    after = next(
        (place + 1 for place in range(len(body) - 1, -1, -1) if _is_import(body[place])), 0
    )
    new = cst.parse_module("".join(f"{line}\n" for line in lines), module.config_for_parsing).body
    body[after:after] = new
    text = module.with_changes(body=body).code.rstrip("\n") + "\n"
    fixture = BODY.format(schema=_schema(project)).replace("\n", module.default_newline)
    return text + module.default_newline * 2 + fixture


def _is_import(statement: cst.CSTNode) -> bool:
    match statement:
        case cst.SimpleStatementLine(body=[cst.Import() | cst.ImportFrom(), *_]):
            return True
        case _:
            return False


def _imports(project: Project, names: Mapping[str, str]) -> list[str]:
    """Return the imports that are needed besides those by which a module has its names."""
    needed = {"Schema": "db_testing.Schema"}
    models: list[str] = []
    if project.migrations is None:
        needed |= {
            name: f"{base.module}.{base.name}"
            for name, base in zip(_names(project), project.bases, strict=True)
        }
        imported = {*(base.module for base in project.bases), *names.values()}
        models = [
            model.name
            for model in project.models
            if not any(f"{origin}.".startswith(f"{model.name}.") for origin in imported)
        ]
    lines = []
    for name, origin in needed.items():
        module, _, original = origin.rpartition(".")
        alias = "" if name == original else f" as {name}"
        if names.get(name) != origin:
            lines.append(f"from {module} import {original}{alias}")
    return lines + [
        f"import {model}  # noqa: F401  # its import fills the metadata" for model in models
    ]


def _names(project: Project) -> list[str]:
    """Return what the bases are called here."""
    names = [base.name for base in project.bases]
    return [
        name if names.count(name) == 1 else f"{name}{number}"
        for number, name in enumerate(names, 1)
    ]


def _schema(project: Project) -> str:
    if project.migrations is not None:
        file = project.migrations.file.relative_to(project.folder).as_posix()
        url = project.migrations.url
        more = f', url_setting="{url.name}"' if url is not None and url.name else ""
        return f'Schema.from_alembic("{file}"{more})'
    given = [
        name if base.is_metadata else f"{name}.metadata"
        for name, base in zip(_names(project), project.bases, strict=True)
    ]
    return f"Schema.from_metadata({', '.join(given)})"
