"""The `conftest.py` that says what is in the database: a new one, or lines for what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import libcst as cst

from .. import _pytest_names

if TYPE_CHECKING:
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
    if _pytest_names.bound(module.body).origins.get("pytest") != "pytest":
        module = _pytest_names.with_import(module)
    lines = [line for line in _imports(project) if line not in module.code]
    body = list(module.body)
    after = next(
        (place + 1 for place in range(len(body) - 1, -1, -1) if _is_import(body[place])), 0
    )
    new = cst.parse_module("\n".join(lines) + "\n", module.config_for_parsing).body
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


def _imports(project: Project) -> list[str]:
    lines = ["from db_testing import Schema"]
    if project.migrations is None:
        names = [each.name for each in project.bases]
        for number, base in enumerate(project.bases):
            unique = names.count(base.name) == 1
            alias = "" if unique else f" as {base.name}{number + 1}"
            lines.append(f"from {base.module} import {base.name}{alias}")
        there = {base.module for base in project.bases}
        lines += [
            f"import {model.name}  # noqa: F401  # its import fills the metadata"
            for model in project.models
            if model.name not in there
        ]
    return lines


def _schema(project: Project) -> str:
    if project.migrations is not None:
        file = project.migrations.file.relative_to(project.folder).as_posix()
        setting = project.migrations.url_setting
        more = f', url_setting="{setting}"' if setting else ""
        return f'Schema.from_alembic("{file}"{more})'
    names = [each.name for each in project.bases]
    given = []
    for number, base in enumerate(project.bases):
        name = base.name if names.count(base.name) == 1 else f"{base.name}{number + 1}"
        given.append(name if base.is_metadata else f"{name}.metadata")
    return f"Schema.from_metadata({', '.join(given)})"
