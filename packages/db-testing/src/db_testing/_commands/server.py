"""`db-testing server`: the server that tests use, without a test."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, Final

import typer

from .._server import _presence, _programs, _server
from .._server._admin import libpq_url
from .._template import _naming
from ..errors import ServerError
from . import choice
from .choice import Option as ServerOption
from .console import CODES, ERR, OUT, STOPPED, Json, megabytes, show_json

app: Final = typer.Typer(help="The server that tests use.", epilog=CODES, no_args_is_help=True)


@app.command(epilog=CODES)
def start(server: ServerOption = None, *, as_json: Json = False) -> None:
    """Start the server, which then stays until it is told to stop, or the machine is.

    Tests need this not: they start a server themselves, which stops with the last of them. It
    spares each run the fraction of a second that this takes, and keeps a URL good.
    """
    cluster = _server.own(choice.own(server, action="start").server)
    with ERR.status("starting PostgreSQL ..."):
        started = _presence.start(cluster)
    url = libpq_url(_server.address(cluster))
    if as_json:
        show_json({"started": started, "folder": str(cluster.folder), "url": url})
    else:
        did = "started" if started else "ran already, and now stays"
        OUT.print(f"{cluster.binaries.describe()}: {did}\n{url}", markup=False)


@app.command(epilog=CODES)
def stop(server: ServerOption = None, *, as_json: Json = False) -> None:
    """Stop the server, unless somebody uses it. Its data, and with them the templates, are kept."""
    cluster = _server.own(choice.own(server, action="stop").server)
    with ERR.status("stopping PostgreSQL ..."):
        stopped = _presence.stop(cluster)
    if as_json:
        show_json({"stopped": stopped, "folder": str(cluster.folder)})
    else:
        OUT.print("stopped" if stopped else "it did not run")


@app.command(epilog=CODES)
def status(server: ServerOption = None, *, as_json: Json = False) -> None:
    """Say whether the server runs, where its data lie and who uses it. Exit code 3: not running."""
    chosen = choice.choose(server)
    found = _own(chosen) if chosen.is_own else _other(chosen)
    if as_json:
        show_json(found)
    else:
        for name, value in found.items():
            OUT.print(f"{name:<12} {_shown(name, value)}", markup=False)
    if not found["running"]:
        raise typer.Exit(STOPPED)


def _own(chosen: choice.Choice) -> dict[str, Any]:
    cluster = _server.own(chosen.server)
    presence = _presence.look(cluster)
    return {
        "server": cluster.binaries.describe(),
        "chosen": f"{chosen.server}: {chosen.source}",
        "running": presence is not None,
        "process": presence and presence.process,
        "users": presence and presence.users,
        "stays": presence is not None and presence.stays,
        "folder": str(cluster.folder),
        "bytes": presence and presence.size,
        "log": str(cluster.log),
        "url": libpq_url(_server.address(cluster)),
    }


def _other(chosen: choice.Choice) -> dict[str, Any]:
    from .._server._admin import Admin

    url = _server.url_of(chosen.server)
    found: dict[str, Any] = {"server": chosen.shown, "chosen": chosen.source, "running": True}
    try:
        admin = Admin(url)
    except ServerError as error:
        return found | {"running": False, "why": str(error), "url": libpq_url(url)}
    with contextlib.closing(admin):
        return found | {
            "version": admin.server_version,
            "databases": admin.run(
                admin.connection.fetchval,
                "SELECT count(*) FROM pg_database WHERE starts_with(datname, $1)",
                _naming.PREFIX,
            ),
            "url": libpq_url(url),
        }


def _shown(name: str, value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() if name == "bytes":
            return megabytes(value)
        case tuple():
            return ", ".join(f"process {pid}" for pid in value) or "nobody"
        case _:
            return str(value)


@app.command(epilog=CODES)
def url(
    database: Annotated[
        str | None, typer.Argument(help="Of this database. Default: the one for maintenance.")
    ] = None,
    server: ServerOption = None,
    *,
    as_json: Json = False,
) -> None:
    """Print the URL of the server, if it runs, for psql and other programs of PostgreSQL's."""
    chosen = choice.choose(server)
    place = _server.url_of(chosen.server)
    if chosen.is_own and _presence.look(_server.own(chosen.server)) is None:
        ERR.print("db-testing: the server does not run. Start it: db-testing server start")
        raise typer.Exit(STOPPED)
    if database is not None:
        place = place.set(database=database)
    plain = libpq_url(place)
    if as_json:
        show_json({"url": plain, "sqlalchemy": place._replace(password=None).render_as_string()})
    else:
        OUT.print(plain, markup=False)


@app.command(
    epilog=CODES + " Otherwise psql's own; 127: there is no psql.",
    context_settings={"ignore_unknown_options": True},
)
def psql(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENTS", help="Of psql.")
    ] = None,
    database: Annotated[
        str, typer.Option("-d", "--database", help="The database's name.")
    ] = "postgres",
    server: ServerOption = None,
) -> None:
    """Open a database in psql. The server is started if need be, and then stops after it again."""
    chosen = choice.choose(server)
    raise typer.Exit(_programs.run_psql(chosen.server, database, arguments or []))
