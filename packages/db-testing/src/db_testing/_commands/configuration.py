"""Settings added to the file that configures pytest; what is there stays as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import tomlkit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .pytest_file import PytestFile

    Settings = Mapping[str, str | Sequence[str]]


def written(file: PytestFile, before: str, settings: Settings) -> str:
    """Return the text of a configuration with settings that it has not had.

    Raises:
        tomlkit.exceptions.ParseError: it is no TOML.
    """
    missing = {name: value for name, value in settings.items() if name not in file.values}
    if not missing:
        return before
    write = _toml if file.path.suffix == ".toml" else _ini
    return _with_ends_of(before, write(file, before, missing))


def _with_ends_of(before: str, text: str) -> str:
    """End the lines of a text as Windows does, if those that were there do."""
    if before.count("\r\n") != before.count("\n") or "\n" not in before:
        return text
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def _toml(file: PytestFile, before: str, settings: Settings) -> str:
    document = tomlkit.parse(before)
    table: Any = document
    keys = file.section.split(".")
    for place, key in enumerate(keys):
        if key not in table:
            last = place == len(keys) - 1
            table[key] = tomlkit.table() if last else tomlkit.table(is_super_table=True)
        table = table[key]
    for name, value in settings.items():
        table[name] = value if isinstance(value, str) else _array(value)
    return tomlkit.dumps(document)


def _array(values: Sequence[str]) -> Any:
    array = tomlkit.array()
    array.extend(values)
    return array.multiline(len(values) > 1)


def _ini(file: PytestFile, before: str, settings: Settings) -> str:
    """Put settings at the end of a section, without touching comments and continued lines."""
    added = []
    for name, value in settings.items():
        if isinstance(value, str):
            added.append(f"{name} = {value}\n")
        else:
            added.append(f"{name} =\n" + "".join(f"    {each}\n" for each in value))
    lines = before.splitlines(keepends=True)
    header = f"[{file.section}]"
    # A comment may follow, as pytest reads it.
    start = next(
        (i for i, line in enumerate(lines) if re.split("[#;]", line)[0].rstrip() == header), None
    )
    if start is None:
        return "".join([f"{header}\n", *added, *lines])
    end = next((i for i in range(start + 1, len(lines)) if lines[i].startswith("[")), len(lines))
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += "\n"
    return "".join([*lines[:end], *added, *lines[end:]])
