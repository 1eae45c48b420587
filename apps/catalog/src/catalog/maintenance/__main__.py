"""The command: `python -m catalog.maintenance`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, NoReturn, TypeVar

import typer
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import AsyncSession

from catalog import demo, tenants
from catalog.database import create_engine as create_async_engine
from catalog.database import create_sessionmaker
from catalog.maintenance import migrations, partitions
from catalog.problems import ProblemError
from catalog.settings import Settings
from catalog.taxonomy import service as taxonomy

T = TypeVar("T")

command = typer.Typer(no_args_is_help=True, help="Look after the catalog's database.")


@contextmanager
def _connection() -> Iterator[Connection]:
    engine = create_engine(Settings().url("psycopg"))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _in_session(work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Do what the application's services do, in one transaction."""

    async def run() -> T:
        engine = create_async_engine(Settings())
        try:
            async with create_sessionmaker(engine).begin() as session:
                return await work(session)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def _fail(error: Exception) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(1) from error


def _today() -> date:
    return datetime.now(UTC).date()


@command.command()
def migrate() -> None:
    """Run the SQL files that have not been run yet."""
    try:
        with _connection() as connection:
            ran = migrations.migrate(connection, Settings().schema_folder)
    except migrations.MigrationError as error:
        _fail(error)
    typer.echo(f"Ran {', '.join(ran)}." if ran else "Nothing to run.")


@command.command()
def seed(
    *, with_demo: Annotated[bool, typer.Option("--demo", help="A tenant, with products.")] = False
) -> None:
    """Write the taxonomy, unless it is there."""
    _in_session(taxonomy.seed)
    if with_demo and _in_session(demo.sow):
        typer.echo(f"Added a tenant, with the key {demo.KEY!r}.")


@command.command()
def tenant(name: Annotated[str, typer.Argument(help="Of the new tenant.")]) -> None:
    """Add a tenant, and print its key, once."""
    _, key = _in_session(lambda session: tenants.add(session, name))
    typer.echo(key)


@command.command()
def move(
    category: Annotated[int, typer.Argument(help="The category's id.")],
    below: Annotated[int | None, typer.Option(help="Another's; a root if left out.")] = None,
) -> None:
    """Move a category, with all below it."""
    try:
        _in_session(lambda session: taxonomy.move(session, category, below))
    except ProblemError as error:
        _fail(error)


@command.command("partitions")
def make_partitions(
    ahead: Annotated[int, typer.Option(min=0, max=120, help="Months after this one.")] = 3,
    keep: Annotated[int, typer.Option(min=1, max=1200, help="Months before this one.")] = 24,
) -> None:
    """Make partitions of the price history ahead, and retire old ones. For a timer, every day."""
    today = _today()
    oldest = today
    for _ in range(keep):
        oldest = oldest.replace(day=1) - timedelta(days=1)
    with _connection() as connection:
        made = partitions.create(connection, today, ahead + 1)
        retired = partitions.retire(connection, oldest)
    for what, months in (("Made", made), ("Retired", retired)):
        if months:
            typer.echo(f"{what} {', '.join(f'{month:%Y-%m}' for month in months)}.")


if __name__ == "__main__":
    command()
