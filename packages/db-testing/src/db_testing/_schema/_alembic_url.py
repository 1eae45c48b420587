"""What leads Alembic's `env.py` to the test database, and keeps it from every other."""

from __future__ import annotations

import contextlib
from collections.abc import MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .. import _settings
from ..errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL


@contextlib.contextmanager
def led_to(url: URL, setting: str | None) -> Iterator[None]:
    """Let the application's own setting be this URL, if one is named; connect nowhere else.

    Raises:
        SchemaError: there is no such setting, or it cannot be set.
    """
    with contextlib.ExitStack() as steps:
        if setting is not None:
            steps.enter_context(_set(setting, url))
        steps.enter_context(_nowhere_but(url))
        yield


@contextlib.contextmanager
def _set(setting: str, url: URL) -> Iterator[None]:
    place, _, name = setting.rpartition("." if "." in setting.partition(":")[2] else ":")
    try:
        owner = _owner(place)
        items: Any = owner if isinstance(owner, MutableMapping) else None
        before = items.get(name) if items is not None else getattr(owner, name)
        value = _as(before, url)
        if items is not None:
            items[name] = value
        else:
            setattr(owner, name, value)
    except Exception as error:
        # The application's own class, which may raise anything.
        raise SchemaError(
            f"url_setting = {setting!r} cannot be set: {type(error).__name__}: {error}. It names "
            f'what env.py reads, as "package.module:settings.database_url", '
            f'"package.module:get_settings().database_url" or "os:environ.DATABASE_URL".'
        ) from error
    try:
        yield
    finally:
        if items is None:
            setattr(owner, name, before)
        elif before is None:
            del items[name]
        else:
            items[name] = before


def _owner(place: str) -> Any:
    """Return what has the setting.

    Raises:
        ValueError: it is another object each time, so that to change it changes nothing.
    """
    if ":" not in place:
        return import_module(place)
    owner = _settings.load(place, what="its part")
    if place.endswith("()") and _settings.load(place, what="its part") is not owner:
        raise ValueError(f"{place} returns another object each time")
    return owner


def _as(before: object, url: URL) -> object:
    """Return the URL as what a setting is now: with its driver, and of its type."""
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    from .._server._admin import url_for

    secret = getattr(before, "get_secret_value", None)  # of pydantic
    text = secret() if secret is not None else str(before)
    with contextlib.suppress(ArgumentError):
        now = make_url(text)
        driver = "asyncpg" if now.drivername.endswith("+asyncpg") else "psycopg"
        url = url_for(driver, url).set(drivername=now.drivername)
    if isinstance(before, URL):
        return url
    if "host" in url.query:
        # A socket's folder, before which SQLAlchemy reads no other host; but pydantic wants one.
        url = url.set(host="localhost")
    # Many an env.py hands it to Alembic's configuration as it is, where % means interpolation.
    place, _, options = url.render_as_string(hide_password=False).partition("?")
    shown = f"{place}?{options.replace('%2F', '/')}" if options else place
    return shown if before is None or isinstance(before, str) else type(before)(shown)  # type: ignore[call-arg]


@contextlib.contextmanager
def _nowhere_but(url: URL) -> Iterator[None]:
    """Refuse connections of SQLAlchemy's engines to anything else.

    An `env.py` that takes its URL from elsewhere would migrate the database it finds there.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from .._server._admin import connect_options, place_of

    ours = place_of(connect_options(url))

    def check(dialect: object, record: object, args: object, options: dict[str, Any]) -> None:
        del dialect, record, args
        theirs = place_of(options)
        if theirs != ours:
            raise SchemaError(
                f"env.py connects to the database {theirs[2]!r} on {theirs[0]}, which is not the "
                f"test database, so it was kept from it. It must use "
                f'config.get_main_option("sqlalchemy.url"), or else say where it finds the URL: '
                f'Schema.from_alembic(..., url_setting="package.module:settings.database_url").'
            )

    event.listen(Engine, "do_connect", check)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", check)
