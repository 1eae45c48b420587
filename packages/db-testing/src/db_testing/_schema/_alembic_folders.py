"""Where migrations lie, as the settings of Alembic say it.

To import Alembic takes longer than to read and digest hundreds of migrations. So an ini file that
says it plainly, as nearly all do, is read without it; of every other, Alembic knows.
"""

from __future__ import annotations

import configparser
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

SECTION: Final = "alembic"

EACH: Final = {
    "os": r"[^:]+",
    ":": r"[^:]+",
    ";": r"[^;]+",
    "newline": r"[^\n]+",
    "space": r"\S+",
}
"""One of the folders that an ini file names, by what it says that stands between them."""

_OPTIONS: Final = {
    "script_location": ((), r".+"),
    "version_locations": (("path_separator", "version_path_separator"), r"[^,\s]+"),
    "prepend_sys_path": (("path_separator",), r"[^,:\s]+"),
}
"""By which options its folders are told apart, and what one is where none of them is there."""


@dataclass(frozen=True)
class Folders:
    """That of env.py, and those of migrations, which may lie in it."""

    own: Path
    versions: frozenset[Path]

    @classmethod
    def of(cls, script: ScriptDirectory) -> Folders:
        """Take them from what Alembic has opened."""
        places = script._version_locations  # noqa: SLF001
        return cls(Path(script.dir).resolve(), frozenset(Path(each).resolve() for each in places))

    @property
    def outermost(self) -> list[Path]:
        """Return those of them that do not lie within another."""
        folders = {self.own, *self.versions}
        return sorted(folder for folder in folders if folders.isdisjoint(folder.parents))


def plain(ini: Path) -> Folders | None:
    """Return the folders that an ini file names, and lead imports as Alembic does.

    None if that takes Alembic: there is no such folder, or something else than these two options
    is about it, or their values may be more than one path each.
    """
    if importlib.util.find_spec("alembic") is None:
        return None
    settings = configparser.ConfigParser({"here": ini.parent.absolute().as_posix()})
    try:
        settings.read(ini, encoding="locale")
        look_beside(settings, SECTION, {}, ini.parent)
        place = settings.get(SECTION, "script_location", fallback="")
        first = settings.get(SECTION, "prepend_sys_path", fallback="")
    except (configparser.Error, UnicodeDecodeError):
        return None
    own = Path(place)
    named = settings.has_option(SECTION, "version_locations")
    if named or not place or ":" in place or re.search(r"[\s,:;]", first) or not own.is_dir():
        return None
    if first and sys.path[0] != first:
        sys.path.insert(0, first)
    return Folders(own.resolve(), frozenset([(own / "versions").resolve()]))


def look_beside(
    settings: configparser.ConfigParser, section: str, toml: dict[str, Any], folder: Path
) -> None:
    """Let folders that are not in the current one be found beside the file that names them.

    Alembic looks in the current folder only, and its users are in that of the file. Tests may be
    started below it. If so for the migrations, `prepend_sys_path = .` is not the current one.
    """
    moved = False

    def found(place: str) -> str:
        absolute = Path(place).is_absolute() or not (folder / place).exists()
        there = not absolute and (moved or not Path(place).exists())
        return f"%(here)s/{place}" if there else place

    for name, (separators, each) in _OPTIONS.items():
        before = settings.get(section, name, fallback=None, raw=True)
        after: str | list[str] | None = None
        if before is not None:
            said = [settings.get(section, option, fallback="") for option in separators]
            pattern = next((EACH[one] for one in said if one in EACH), each)
            after = re.sub(pattern, lambda match: found(match[0].strip()), before)
            settings.set(section, name, after)
        elif name in toml:
            before = toml[name]
            after = found(before) if isinstance(before, str) else [found(one) for one in before]
            toml[name] = after
        moved = moved or after != before
