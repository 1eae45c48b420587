# /// script
# requires-python = ">=3.11"
# dependencies = ["tomlkit>=0.15"]
# ///
"""Wire a generated project into the workspace: `./moonw run root:adopt -- order-desk`.

moon finds the project by its pyproject.toml, gives it the tasks of its language, layer and tags,
and writes its owners to .github/CODEOWNERS. What is left is in the root's pyproject.toml and
uv.lock: the group that is installed, where uv finds it, what is measured, and who may import what.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import tomlkit

if TYPE_CHECKING:
    from tomlkit import TOMLDocument
    from tomlkit.items import AoT, Array, Table

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = "pyproject.toml"
INDEPENDENT = "applications-know-no-test"
"""The contract that names every application."""


class AdoptionError(Exception):
    """There is no such project, or it is not laid out as the templates lay it out."""


@dataclass(frozen=True)
class Project:
    """A project that `moon generate` has written."""

    folder: Path
    """From the workspace's root."""
    package: str
    """What Python imports it as."""

    @classmethod
    def find(cls, name: str, root: Path = ROOT) -> Project:
        """Find the project that is called `name`.

        Raises:
            AdoptionError: there is none, or none with one package below `src`.
        """
        folders = [root / kind / name for kind in ("apps", "packages")]
        found = [folder for folder in folders if (folder / CONFIGURATION).is_file()]
        if len(found) != 1:
            looked = " and ".join(str(folder.relative_to(root)) for folder in folders)
            raise AdoptionError(
                f"no project {name!r}: looked for {CONFIGURATION} in {looked}, and found "
                f"{len(found)}. Generate it first: ./moonw generate backend -- --name {name}"
            )
        packages = [path.parent.name for path in found[0].glob("src/*/__init__.py")]
        if len(packages) != 1:
            raise AdoptionError(
                f"{found[0] / 'src'} must hold one package with an __init__.py, and holds "
                f"{packages or 'none'}."
            )
        return cls(found[0].relative_to(root), packages[0])

    @property
    def is_application(self) -> bool:
        """Whether it is one, which no other project may import."""
        return self.folder.parts[0] == "apps"


def configure(document: TOMLDocument, project: Project) -> None:
    """Enter `project` in the root's configuration of coverage and import-linter."""
    tool = cast("Table", document["tool"])
    _add(tool["coverage"]["run"]["source"], f"{project.folder}/src")
    linter = tool["importlinter"]
    _add(linter["root_packages"], project.package)
    if not project.is_application:
        return
    contracts = cast("AoT", linter["contracts"])
    by_id = {str(contract["id"]): contract for contract in contracts}
    _add(by_id[INDEPENDENT]["modules"], project.package)
    identity = f"{project.folder.name}-domain-layers"
    if identity not in by_id:
        contracts.append(_layers_of_a_domain(identity, project))


def _layers_of_a_domain(identity: str, project: Project) -> Table:
    contract = tomlkit.table()
    contract["id"] = identity
    contract["name"] = f"{project.folder.name}: within a domain, router > service > models"
    contract["type"] = "layers"
    contract["containers"] = [f"{project.package}.*"]
    layers = tomlkit.array()
    layers.extend(["(router)", "(service)", "(schemas) : (errors)", "(models)"])
    contract["layers"] = layers.multiline(multiline=True)
    return contract


def _add(names: object, name: str) -> None:
    array = cast("Array", names)
    if name not in array:
        array.append(name)


def main(names: list[str], root: Path = ROOT) -> None:
    """Adopt the projects of these names. Doing so again changes nothing.

    Raises:
        AdoptionError: one of them cannot be found, and none was adopted.
    """
    if not names:
        raise AdoptionError("which project? As in: ./moonw run root:adopt -- order-desk")
    projects = [Project.find(name, root) for name in names]
    path = root / CONFIGURATION
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    for project in projects:
        configure(document, project)
    path.write_text(tomlkit.dumps(document), encoding="utf-8")
    # uv writes to the same file: the group `dev`, the source, and then the lock.
    folders = [f"./{project.folder}" for project in projects]
    subprocess.run(["uv", "add", "--quiet", "--dev", *folders], cwd=root, check=True)  # noqa: S607
    for project in projects:
        print(f"adopted {project.folder}: ./moonw run {project.folder.name}:check")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except AdoptionError as problem:
        sys.exit(f"adopt: {problem}")
    except subprocess.CalledProcessError as problem:
        sys.exit(f"adopt: {' '.join(problem.cmd)} ended with exit code {problem.returncode}.")
