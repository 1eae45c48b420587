"""`db-testing init`: a project's tests led to db-testing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.syntax import Syntax

from ..errors import InitError
from . import plan
from .console import ERR, OUT, Json, show_json


def init(
    folder: Annotated[Path, typer.Argument(help="The project's folder.", file_okay=False)] = Path(),
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Write the `db_schema` of a project and pytest's configuration, after showing the difference.

    Nothing of the project is imported, and nothing that is there is changed or removed: fixtures
    that are in the way are named, with what takes their place. With --json and without --yes,
    nothing is written.
    """
    with ERR.status("reading the project ..."):
        found = plan.make(folder.resolve())
    diffs = {change.path: change.diff(found.folder) for change in found.changes}
    if as_json:
        if yes:
            _write(found)
        files = [
            {"path": str(each.path), "new": each.before is None, "diff": diffs[each.path]}
            for each in found.changes
        ]
        by_hand = [dataclasses.asdict(each) for each in found.by_hand]
        show_json({"written": yes, "files": files, "by_hand": by_hand, "notes": list(found.notes)})
        return
    for diff in diffs.values():
        OUT.print(Syntax(diff.rstrip("\n"), "diff", background_color="default", word_wrap=False))
        OUT.print()
    _show_by_hand(found)
    if not found.changes:
        OUT.print("Nothing to write: it is all there. Next: db-testing doctor")
        return
    which = "this file" if len(found.changes) == 1 else f"these {len(found.changes)} files"
    if not yes and not typer.confirm(f"Write {which}?", err=True):
        raise InitError("nothing was written.")
    _write(found)
    OUT.print("Written. Next: db-testing doctor")


def _write(found: plan.Plan) -> None:
    for change in found.changes:
        change.write()


def _show_by_hand(found: plan.Plan) -> None:
    if found.by_hand:
        OUT.print("To be done by hand, in any order, when db-testing doctor is content:")
    for fixture in found.by_hand:
        OUT.print(f"- {fixture.where}: {fixture.name}: {fixture.why}", markup=False)
        for line in fixture.how.splitlines():
            OUT.print(f"    {line}", markup=False)
    for note in found.notes:
        OUT.print(f"- {note}", markup=False)
