"""The file that configures pytest, found as pytest finds it and read without running it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import iniconfig

from ..errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = {
    "pytest.toml": "pytest",
    ".pytest.toml": "pytest",
    "pytest.ini": "pytest",
    ".pytest.ini": "pytest",
    "pyproject.toml": "tool.pytest",
    "tox.ini": "pytest",
    "setup.cfg": "tool:pytest",
}
"""The files in pytest's order, each with its section."""

WHOLE: Final = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
"""Those that are pytest's whatever is in them."""


@dataclass(frozen=True, slots=True)
class PytestFile:
    """Where pytest's settings stand, or would stand."""

    path: Path
    section: str
    """As it is written, without brackets."""
    exists: bool = True
    """Whether the section is there."""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The root of the tests."""
        return self.path.parent


def find(start: Path) -> PytestFile | None:
    """Return the file that pytest reads when it is run in a folder.

    Raises:
        SetupError: a file on the way cannot be read.
    """
    for folder in (start, *start.parents):
        for name, section in NAMES.items():
            path = folder / name
            if path.is_file() and (found := _read(path, section)) is not None:
                return found
    return None


def _read(path: Path, section: str) -> PytestFile | None:
    try:
        if path.suffix == ".toml":
            return _read_toml(path, section)
        sections = iniconfig.IniConfig(str(path)).sections
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, iniconfig.ParseError) as error:
        raise SetupError(f"{path} cannot be read: {error}. Mend it, and try again.") from error
    if section in sections or path.name in WHOLE:
        return PytestFile(path, section, section in sections, dict(sections.get(section, {})))
    return None


def _read_toml(path: Path, section: str) -> PytestFile | None:
    table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    for key in section.split("."):
        table = table.get(key)
        if table is None:
            return PytestFile(path, section, exists=False) if path.name in WHOLE else None
    if "ini_options" in table and path.name == "pyproject.toml":
        section, table = f"{section}.ini_options", table["ini_options"]
    return PytestFile(path, section, values=table)
