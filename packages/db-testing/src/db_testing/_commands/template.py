"""`db-testing template`: the databases that workers' are copied from."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import Annotated, Final

import typer

from .._server import _server
from .._server._admin import Admin
from .._template import _clones, _naming, _removal, _uses
from ..errors import ServerError, SuiteError
from . import building, choice, suite
from .choice import Option as ServerOption
from .console import CODES, OUT, Json, doing, megabytes, show_json, show_table

app: Final = typer.Typer(
    help="Templates: databases with a schema, which those of tests are copied from.",
    epilog=CODES,
    no_args_is_help=True,
)


@contextlib.contextmanager
def _connected(option: str | None) -> Iterator[Admin]:
    with doing("connecting to the server ...") as progress:
        server = _server.acquire(choice.choose(option).server, say=progress)
    try:
        with contextlib.closing(Admin(server.url)) as admin:
            yield admin
    finally:
        server.release()


@app.command("list", epilog=CODES)
def list_(server: ServerOption = None, *, as_json: Json = False) -> None:
    """List the templates that are kept, those that were used last first."""
    with _connected(server) as admin:
        found = admin.run(lambda: _uses.templates(admin, sizes=True))
    if as_json:
        templates = [
            {"name": each.name, "used": _iso(each.used), "bytes": each.size} for each in found
        ]
        show_json({"templates": templates})
    elif found:
        sizes = ["?" if each.size is None else megabytes(each.size) for each in found]
        rows = [
            (each.name, _iso(each.used) or "unknown", size)
            for each, size in zip(found, sizes, strict=True)
        ]
        show_table(("template", "last used (UTC)", "size"), rows)
    else:
        OUT.print("There is no template. Tests build theirs, or: db-testing template build")


def _iso(used: dt.datetime) -> str | None:
    return None if used.year == dt.MINYEAR else used.isoformat(sep=" ", timespec="minutes")[:16]


@app.command(epilog=CODES)
def build(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGUMENTS]", help="Of pytest: whose schemas are built."),
    ] = None,
    server: ServerOption = None,
    *,
    anew: Annotated[
        bool, typer.Option("--rebuild", help="Also where nothing tells that it is out of date.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build the templates of the tests that pytest finds here, so that no test has to wait.

    Such as in an image for CI. The project's pytest collects its tests, and runs none.
    """
    work = building.REBUILD if anew else building.BUILD
    with doing("collecting the tests ...") as progress:
        answer = suite.ask(arguments or (), work=work, server=server, progress=progress)
    answer.check()
    if not answer.results:
        raise SuiteError(
            f"pytest has collected {answer.facts['tests']} tests in {answer.facts['root']}, and so "
            f"there is no db_schema to build. Run this where the tests are, or name them after --."
        )
    if as_json:
        found = [{"where": where} | result for where, result in answer.results.items()]
        show_json({"templates": found})
        return
    for where, result in answer.results.items():
        did = f"built in {result['seconds']:.2f} s" if result["built"] else "was there"
        OUT.print(f"{result['template']}: {did}\n  {result['schema']}, {where}", markup=False)


@app.command(epilog=CODES)
def prune(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEMPLATE]...", help="As listed, or the beginning of its digest."),
    ] = None,
    server: ServerOption = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Drop all templates.")] = False,
    as_json: Json = False,
) -> None:
    """Drop templates: those that are named, or those that nobody has used for two weeks.

    Databases of test processes that have died go as well. What is missed is built anew.
    """
    with _connected(server) as admin:
        reaped = _clones.reap(admin)
        if names or everything:
            found = [each.name for each in admin.run(_uses.templates, admin)]
            dropped = found if everything else [_named(name, found) for name in names or ()]
            for name in dropped:
                admin.run(_removal.drop, admin, name)
        else:
            dropped = admin.run(_uses.prune, admin)
    if as_json:
        show_json({"dropped": dropped, "reaped": reaped})
    else:
        for name in (*dropped, *reaped):
            OUT.print(f"dropped {name}")
        if not dropped and not reaped:
            OUT.print("nothing to drop")


def _named(name: str, found: list[str]) -> str:
    digest = name.removeprefix(_naming.TEMPLATE_PREFIX)
    fitting = [each for each in found if each.startswith(_naming.TEMPLATE_PREFIX + digest)]
    if len(fitting) != 1 or not digest:
        what = f"{len(fitting)} templates begin" if fitting else "no template begins"
        known = ", ".join(found) or "none"
        raise ServerError(f"{what} with {name!r}. There are: {known}.")
    return fitting[0]
