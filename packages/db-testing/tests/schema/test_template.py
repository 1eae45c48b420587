"""Templates are built once, complete or not at all; clones equal them; dead runs' databases go."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
import pytest
from sqlalchemy import text

from db_testing._server._admin import Admin, connect_options
from db_testing._template import _claims, _clones, _copies, _naming, _template
from db_testing.errors import SchemaError, ServerError
from db_testing.schema import Schema

from .conftest import names_of, tables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncSession

    from db_testing.schema import SchemaLike

    from .conftest import Connect

    Template: TypeAlias = Callable[[SchemaLike], str]

BUILDER = Path(__file__).with_name("builder.py")


class Own:
    """A schema of the user's own making: any object with the two methods."""

    def __init__(self, name: str, apply: Callable[[URL], None] = lambda _: None) -> None:
        """Take what `apply` should do."""
        self.name = name
        self.applied = 0
        self._apply = apply

    def fingerprint(self) -> str:
        """Return the name."""
        return self.name

    def apply(self, url: URL) -> None:
        """Count, and do what was given."""
        self.applied += 1
        self._apply(url)


def test_template_is_built_once(template: Template, unique: str) -> None:
    """Who comes second finds the template."""
    schema = Own(unique)
    assert template(schema) == template(schema)
    assert schema.applied == 1


def test_threads_at_once_build_once(connect: Connect, template: Template, unique: str) -> None:
    """Of workers at the same moment one builds, and the others wait for it."""
    schema = Own(unique)
    admins = [connect() for _ in range(4)]
    print_of = _template.fingerprint(admins[0], schema)
    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(lambda admin: _template.ensure(admin, schema, print_of), admins))
    assert names == {template(schema)}
    assert schema.applied == 1


def test_processes_at_once_build_once(
    admin: Admin, template: Template, unique: str, tmp_path: Path
) -> None:
    """Processes build no more often than threads do."""
    command = [sys.executable, str(BUILDER), admin.url.render_as_string(), unique]
    command.append(str(tmp_path / "log"))
    builders = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    try:
        outputs = {builder.communicate("\n", timeout=60)[0] for builder in builders}
    finally:
        for builder in builders:
            builder.kill()
    assert len(outputs) == 1
    assert (tmp_path / "log").read_text() == "applied\n"
    template(Own(unique))


def test_template_has_its_name_only_when_it_is_complete(
    admin: Admin, connect: Connect, template: Template, unique: str
) -> None:
    """While the schema is applied, nobody can take the database for the template."""
    during: list[list[str]] = []
    other = connect()
    name = template(Own(unique, lambda _: during.append(other.run(names_of, other, "_"))))
    assert name not in during[0]
    assert name in admin.run(names_of, admin, "_")


def test_fingerprint_follows_the_extensions_of_the_server(admin: Admin, schema: Schema) -> None:
    """Another version of one may make other functions, whatever creates it."""
    before = _template.fingerprint(admin, schema)
    assert _template.fingerprint(admin, schema) == before
    upgraded = (
        "CREATE TEMPORARY VIEW pg_available_extensions AS"
        " SELECT name, '99' AS default_version FROM pg_catalog.pg_available_extensions"
    )
    admin.run(admin.connection.execute, upgraded)
    assert _template.fingerprint(admin, schema) != before


def test_template_is_built_anew_once_for_a_run(
    admin: Admin, template: Template, unique: str
) -> None:
    """What nothing tells to be out of date is built again on demand, by the first worker only."""
    schema = Own(unique)
    template(schema)
    print_of = _template.fingerprint(admin, schema)
    for run, applied in [("one", 2), ("one", 2), ("two", 3)]:
        _template.rebuild(admin, schema, print_of, run)
        assert schema.applied == applied
    template(schema)
    assert schema.applied == 3


@pytest.mark.since(15)  # before, no database knows the version that it was made with
def test_new_collations_are_a_new_template(admin: Admin, schema: Schema, unique: str) -> None:
    """What an older glibc or ICU has sorted is not copied: PostgreSQL would refuse it for ever."""
    before = _template.fingerprint(admin, schema)
    assert _template.fingerprint(admin, schema) == before
    admin.run(
        admin.connection.execute,
        f"CREATE SCHEMA {unique}; SET search_path = {unique}, pg_catalog;"
        "CREATE FUNCTION pg_database_collation_actual_version(oid) RETURNS text"
        " LANGUAGE sql AS $$ SELECT 'new' $$",
    )
    try:
        assert _template.fingerprint(admin, schema) != before
    finally:
        admin.run(admin.connection.execute, f"DROP SCHEMA {unique} CASCADE; RESET search_path")


@pytest.mark.parametrize("times", [1, 5])
def test_template_to_begin_with_is_dropped(
    admin: Admin, unique: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may tidy up before it is copied: another is looked for, up to a bound."""
    schema, gone = Own(unique), iter(range(times))

    def beginning(*_: object) -> tuple[str, Callable[[URL], None]]:
        return "template0" if next(gone, None) is None else f"dbt_{unique}", schema.apply

    monkeypatch.setattr(_template, "_beginning", beginning)
    print_of = _template.fingerprint(admin, schema)
    if times == 1:
        _claims.drop(admin, _template.ensure(admin, schema, print_of))
    else:
        with pytest.raises(ServerError, match="dropped 5 times before it could be copied"):
            _template.ensure(admin, schema, print_of)
    assert schema.applied == (times == 1)
    assert admin.run(names_of, admin, print_of[:24]) == []


def altering(*settings: str, who: str = "DATABASE") -> Callable[[URL], None]:
    """Return what gives its database settings."""
    quoted = "".join(f"EXECUTE format($$ALTER {who} %I SET {each}$$, name);" for each in settings)
    block = f"DO $do$ DECLARE name text := current_database(); BEGIN {quoted} END $do$"

    def apply(url: URL) -> None:
        ask(url, block)

    return apply


def ask(url: URL, sql: str) -> tuple[object, ...]:
    """Run a statement in a session of its own, and return its only row, if any."""

    async def fetch() -> tuple[object, ...]:
        connection = await asyncpg.connect(**connect_options(url))
        try:
            return tuple(await connection.fetchrow(sql) or ())
        finally:
            await connection.close()

    return asyncio.run(fetch())


SETTINGS: dict[str, str] = {
    "search_path": '"$user", "My schema", public',
    "app.tenant": 'it\'s "one", and = two',
    "datestyle": "German, DMY",
    "statement_timeout": "70s",
}
ALTERED = altering(
    f"search_path = {SETTINGS['search_path']}",
    "app.tenant = 'it''s \"one\", and = two'",
    "datestyle = 'German, DMY'",
    "statement_timeout = 70000",
)
SHOW = f"SELECT {', '.join(f'current_setting({name!r})' for name in SETTINGS)}"


def test_settings_of_the_database_are_copied(admin: Admin, template: Template, unique: str) -> None:
    """What ALTER DATABASE sets in a migration holds in clones, and in copies of them."""
    schema = Own(unique, ALTERED)
    template(schema)
    print_of = _template.fingerprint(admin, schema)
    names = [f"dbt_{unique}_01234567_{part}_main" for part in ("clone", "copy")]
    urls = [admin.url.set(database=name) for name in names]
    try:
        _clones.clone(admin, schema, print_of, names[0])
        assert ask(urls[0], SHOW) == tuple(SETTINGS.values())
        _clones.copy(admin, names[0], names[1], print_of)
        _clones.recopy(admin, names[1], names[0], print_of)
        for url in urls:
            assert ask(url, SHOW) == tuple(SETTINGS.values())
            assert ask(url, "SHOW lock_timeout") == (_clones.LOCK_TIMEOUT,)
    finally:
        for name in names:
            _claims.drop(admin, name)


def test_settings_of_a_role_in_the_database_are_copied(
    template: Template, clone: Callable[[str], URL], unique: str
) -> None:
    """They are the database's as well: ALTER ROLE ... IN DATABASE."""
    apply = altering("work_mem = '5MB'", who="ROLE CURRENT_USER IN DATABASE")
    assert ask(clone(template(Own(unique, apply))), "SHOW work_mem") == ("5MB",)


@pytest.mark.parametrize("value", ["''", '"a,b", "c""d"', "Upper, lower", "pg_temp", '"Ä", b'])
def test_lists_of_names_are_copied(
    template: Template, clone: Callable[[str], URL], unique: str, value: str
) -> None:
    """Each name stays one: the list, quoted as a whole, would become a single name."""
    shown: list[object] = []

    def apply(url: URL) -> None:
        altering(f"search_path = {value}")(url)
        shown.append(ask(url, "SHOW search_path"))

    name = template(Own(unique, apply))
    assert [ask(clone(name), "SHOW search_path")] == shown


def test_lock_timeout_of_the_schema(
    template: Template, clone: Callable[[str], URL], unique: str
) -> None:
    """Its own goes before ours."""
    name = template(Own(unique, altering("lock_timeout = 3000")))
    assert ask(clone(name), "SHOW lock_timeout") == ("3s",)


def test_settings_of_what_a_template_begins_with(
    template: Template, clone: Callable[[str], URL], unique: str
) -> None:
    """Seeds and new migrations are run on a copy, which has them too."""

    async def seed(session: AsyncSession) -> None:
        await session.execute(text(f"CREATE TABLE {unique} ()"))

    name = template(Schema(Own(unique, ALTERED), seed=seed))
    url = clone(name)
    assert ask(url, SHOW) == tuple(SETTINGS.values())
    assert tables_of(url) == [f"public.{unique}"]


def test_template_stays_when_it_cannot_be_built_anew(
    admin: Admin, template: Template, unique: str
) -> None:
    """A mistake in the schema costs nobody else the template that was there."""
    schema = Own(unique)
    name = template(schema)

    def fail(_: URL) -> None:
        message = "no"
        raise ValueError(message)

    with pytest.raises(SchemaError):
        _template.rebuild(admin, Own(unique, fail), _template.fingerprint(admin, schema), "run")
    assert name in admin.run(names_of, admin, "template")


def test_who_builds_and_who_waits_is_told(
    connect: Connect, template: Template, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line says so after a moment: nobody wonders why the run stands still."""
    monkeypatch.setattr(_template, "PATIENCE", 0.1)
    said: dict[str, list[str]] = {"builder": [], "waiting": []}
    everything = threading.Event()

    def say(who: str, line: str) -> None:
        said[who].append(line)
        if all(said.values()):
            everything.set()

    building = threading.Event()

    def apply(_: URL) -> None:
        building.set()
        assert everything.wait(20)

    schema = Own(unique, apply)
    admins = [connect(), connect()]
    for admin, who in zip(admins, said, strict=True):
        admin.say = functools.partial(say, who)
    print_of = _template.fingerprint(admins[0], schema)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(_template.ensure, admins[0], schema, print_of)
        assert building.wait(20)
        second = pool.submit(_template.ensure, admins[1], schema, print_of)
        assert first.result(30) == second.result(30) == template(schema)
    assert schema.applied == 1
    assert re.fullmatch(r"building the template of .*Own object.* \.\.\.", said["builder"][0])
    holder = r"waiting for db-testing process \d+ on \S+ \(backend \d+\)"
    assert re.match(holder, said["waiting"][0])


def test_failed_build_leaves_nothing(admin: Admin, unique: str) -> None:
    """The error is the user's own, with the schema it came from; the database is gone."""

    def fail(_: URL) -> None:
        message = "division by cucumber"
        raise ValueError(message)

    schema = Own(unique, fail)
    print_of = _template.fingerprint(admin, schema)
    with pytest.raises(
        SchemaError, match=r"could not be applied .* ValueError: division by cucumber"
    ):
        _template.ensure(admin, schema, print_of)
    assert admin.run(names_of, admin, print_of[:24]) == []


def test_build_that_is_interrupted_leaves_nothing(admin: Admin, unique: str) -> None:
    """Ctrl-C during the build drops what there is, and is not swallowed."""

    def interrupt(_: URL) -> None:
        raise KeyboardInterrupt

    schema = Own(unique, interrupt)
    print_of = _template.fingerprint(admin, schema)
    with pytest.raises(KeyboardInterrupt):
        _template.ensure(admin, schema, print_of)
    assert admin.run(names_of, admin, print_of[:24]) == []


def test_schema_without_a_fingerprint_is_one_error(admin: Admin) -> None:
    """An error of `fingerprint()` says whose it is."""

    class Broken(Own):
        def fingerprint(self) -> str:
            message = "no idea"
            raise LookupError(message)

        def __repr__(self) -> str:
            return "Broken()"

    with pytest.raises(SchemaError, match=r"^Broken\(\) has no fingerprint: LookupError: no idea"):
        _template.fingerprint(admin, Broken("x"))


def test_connections_that_a_schema_leaves_open_are_ended(
    admin: Admin, template: Template, unique: str
) -> None:
    """A template has no connection, lest it can be neither renamed nor copied."""
    left: list[asyncpg.Connection[asyncpg.Record]] = []

    def leave(url: URL) -> None:
        async def connect() -> None:
            left.append(await asyncpg.connect(**connect_options(url)))
            await left[0].execute("CREATE TABLE t (); BEGIN")

        keeper.run(connect)

    keeper = Admin(admin.url)
    try:
        name = template(Own(unique, leave))
        sql = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
        assert admin.run(admin.connection.fetchval, sql) == 0
    finally:
        left[0].terminate()
        keeper.close()


def test_nobody_can_write_to_a_template(admin: Admin, template: Template, schema: Schema) -> None:
    """A template takes no connections."""
    url = admin.url.set(database=template(schema))
    with pytest.raises(ServerError, match="not currently accepting connections"):
        Admin(url)


def test_clone_equals_its_template(
    admin: Admin, template: Template, schema: Schema, unique: str
) -> None:
    """A worker's database has what the schema says."""
    template(schema)
    name = f"dbt_{unique}_01234567_a_main"
    _clones.clone(admin, schema, _template.fingerprint(admin, schema), name)
    try:
        assert tables_of(admin.url.set(database=name)) == [f"public.{unique}"]
    finally:
        _claims.drop(admin, name)


def test_renewed_clone_has_forgotten_everything(
    admin: Admin, template: Template, schema: Schema, unique: str
) -> None:
    """A new clone replaces the old one, although somebody is connected to that."""
    template(schema)
    name = f"dbt_{unique}_01234567_a_main"
    print_of = _template.fingerprint(admin, schema)
    _clones.clone(admin, schema, print_of, name)
    try:
        inside = Admin(admin.url.set(database=name))
        inside.run(inside.connection.execute, "CREATE TABLE mine ()")
        _clones.renew(admin, schema, print_of, name)
        assert tables_of(admin.url.set(database=name)) == [f"public.{unique}"]
        inside.close()
    finally:
        _claims.drop(admin, name)


def test_template_that_is_dropped_meanwhile_is_built_again(
    admin: Admin, template: Template, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody tidies up between the look-up and the copy: that costs time, no test."""
    schema = Own(unique)
    template_name = template(schema)
    ensure = _template.ensure
    sabotages = iter([1, 2])

    def ensure_and_lose(admin: Admin, schema: SchemaLike, print_of: str) -> str:
        name = ensure(admin, schema, print_of)
        if next(sabotages, None):
            admin.run(admin.connection.execute, f'DROP DATABASE "{name}"')
        return name

    monkeypatch.setattr(_template, "ensure", ensure_and_lose)
    name = f"dbt_{unique}_01234567_a_main"
    _clones.clone(admin, schema, _template.fingerprint(admin, schema), name)
    _claims.drop(admin, name)
    assert schema.applied == 3
    assert template_name in admin.run(names_of, admin, "template")


def test_template_that_is_always_dropped_is_one_error(
    admin: Admin, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying has an end."""
    monkeypatch.setattr(_template, "ensure", lambda *_: "dbt_template_that_is_not_there")
    with pytest.raises(ServerError, match="was dropped 5 times before it could be copied"):
        _clones.renew(admin, Own(unique), "x", f"dbt_{unique}_01234567_a_main")


def test_builder_that_takes_too_long_is_named(
    admin: Admin, connect: Connect, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for another builder has a bound; the error says which process builds."""
    other = connect()
    schema = Own(unique)
    print_of = _template.fingerprint(admin, schema)
    name = _naming.template_database(print_of)
    other.run(_template._wait_for_builder, other, name)
    monkeypatch.setattr(_template, "BUILD_TIMEOUT", 0.1)
    builder = rf"which db-testing process {os.getpid()} on \S+ \(backend"
    with pytest.raises(ServerError, match=builder):
        _template.ensure(admin, schema, print_of)


def test_name_that_is_in_use_is_refused(admin: Admin, connect: Connect, unique: str) -> None:
    """Two runs with one identity would drop each other's databases."""
    schema, name = Own(unique), f"dbt_{unique}_01234567_a_main"
    other = connect()
    other.run(_claims.take, other.connection, name)
    with pytest.raises(ServerError, match=r"is in use by db-testing process .*--testrunuid"):
        _clones.clone(admin, schema, "x", name)


def reap_all_but(names: Sequence[str], admin: Admin, part: str) -> None:
    """Reap until no others of our databases are left, for ten seconds at most.

    Once is not enough. The server notices late that nobody is connected any more, and a run of
    another test, on this server too, may have been the next: it holds what it is about to drop.
    """
    pause = threading.Event()
    for _ in range(1000):
        _clones.reap(admin)
        if admin.run(names_of, admin, part) == sorted(names):
            break
        pause.wait(0.01)
    assert admin.run(names_of, admin, part) == sorted(names)


def test_database_of_a_dead_process_is_reaped(
    admin: Admin, connect: Connect, template: Template, schema: Schema, unique: str
) -> None:
    """What a killed worker left is dropped; what lives, and what is not ours, stays."""
    template(schema)
    print_of = _template.fingerprint(admin, schema)
    dead, alive, foreign = (
        f"dbt_{unique}_01234567_dead_main",
        f"dbt_{unique}_01234567_alive_main",
        f"dbt_{unique}",
    )
    killed = connect()
    _clones.clone(killed, schema, print_of, dead)
    _clones.clone(admin, schema, print_of, alive)
    admin.run(admin.connection.execute, f"CREATE DATABASE {foreign}")
    try:
        _clones.reap(connect())
        assert admin.run(names_of, admin, unique) == sorted([dead, alive, foreign])
        killed.run(killed.connection.execute, "SELECT pg_advisory_unlock_all()")
        reap_all_but([alive, foreign], connect(), unique)
    finally:
        _claims.drop(admin, alive)
        admin.run(admin.connection.execute, f"DROP DATABASE {foreign}")


def test_database_that_somebody_is_connected_to_is_not_reaped(
    admin: Admin, connect: Connect, template: Template, schema: Schema, unique: str
) -> None:
    """A machine whose session was cut, as by a firewall, has lost its locks, and still tests."""
    template(schema)
    name = f"dbt_{unique}_01234567_cut_main"
    cut = connect()
    _clones.clone(cut, schema, _template.fingerprint(admin, schema), name)
    test = Admin(admin.url.set(database=name))
    try:
        cut.run(cut.connection.execute, "SELECT pg_advisory_unlock_all()")
        assert name not in _clones.reap(admin)
        assert test.run(test.connection.fetchval, "SELECT current_database()") == name
    finally:
        test.close()
    reap_all_but([], admin, unique)


def test_half_built_template_of_a_dead_process_is_reaped(
    admin: Admin, unique: str, tmp_path: Path
) -> None:
    """A builder that was killed leaves a database behind, which the next run drops."""
    command = [sys.executable, str(BUILDER), admin.url.render_as_string(), unique]
    command.append(str(tmp_path / "log"))
    with subprocess.Popen(
        [*command, "die"], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as builder:
        builder.communicate("\n", timeout=60)
    print_of = _template.fingerprint(admin, Own(unique))
    assert (tmp_path / "log").exists()  # it had begun
    reap_all_but([], admin, print_of[:24])


def test_database_is_alive_whatever_the_maintenance_database(
    admin: Admin, template: Template, schema: Schema, unique: str
) -> None:
    """Runs may reach one server through different databases: none drops what another uses."""
    template(schema)
    other_base, name = f"dbt_{unique}_base", f"dbt_{unique}_01234567_a_main"
    admin.run(admin.connection.execute, f"CREATE DATABASE {other_base}")
    elsewhere = Admin(admin.url.set(database=other_base))
    try:
        _clones.clone(elsewhere, schema, _template.fingerprint(admin, schema), name)
        assert name not in _clones.reap(admin)
        assert name in admin.run(names_of, admin, unique)
        _claims.drop(elsewhere, name)
    finally:
        elsewhere.close()
        admin.run(admin.connection.execute, f"DROP DATABASE {other_base}")


def test_name_that_is_in_use_is_refused_whatever_the_maintenance_database(
    admin: Admin, template: Template, schema: Schema, unique: str
) -> None:
    """Two machines with one --testrunuid do not drop each other's databases."""
    template(schema)
    print_of = _template.fingerprint(admin, schema)
    other_base, name = f"dbt_{unique}_base", f"dbt_{unique}_01234567_a_main"
    admin.run(admin.connection.execute, f"CREATE DATABASE {other_base}")
    elsewhere = Admin(admin.url.set(database=other_base))
    try:
        _clones.clone(elsewhere, schema, print_of, name)
        with pytest.raises(ServerError, match=r"is in use by db-testing process .*--testrunuid"):
            _clones.clone(admin, schema, print_of, name)
        _claims.drop(elsewhere, name)
        _clones.clone(admin, schema, print_of, name)
        _claims.drop(admin, name)
    finally:
        elsewhere.close()
        admin.run(admin.connection.execute, f"DROP DATABASE {other_base}")


def test_builders_with_other_maintenance_databases_do_not_meet(
    admin: Admin, template: Template, unique: str
) -> None:
    """Advisory locks do not reach that far: both build, the first to finish gives the template."""
    other_base = f"dbt_{unique}_base"
    admin.run(admin.connection.execute, f"CREATE DATABASE {other_base}")
    elsewhere = Admin(admin.url.set(database=other_base))
    inner = Own(unique)
    print_of = _template.fingerprint(admin, inner)

    def build_elsewhere() -> None:
        _template.ensure(elsewhere, inner, print_of)

    try:
        outer = Own(unique, lambda _: build_elsewhere())
        assert template(outer) == _naming.template_database(print_of)
        assert (outer.applied, inner.applied) == (1, 1)
    finally:
        elsewhere.close()
        admin.run(admin.connection.execute, f"DROP DATABASE {other_base}")


def test_fingerprint_knows_server_and_format(
    admin: Admin, schema: Schema, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another release of PostgreSQL, another locale or format of ours has templates of its own."""
    prints = {_template.fingerprint(admin, schema)}
    monkeypatch.setattr(_template, "FORMAT", 0)
    prints.add(_template.fingerprint(admin, schema))
    asked = _template._SERVER
    monkeypatch.setattr(_template, "_SERVER", asked.replace("version()", "'PostgreSQL 99.1'"))
    prints.add(_template.fingerprint(admin, schema))
    locale = "LOCALE 'POSIX' TEMPLATE template0"
    admin.run(admin.connection.execute, f"CREATE DATABASE {unique} {locale}")
    try:
        monkeypatch.setattr(_template, "_SERVER", asked.replace("template0", unique))
        prints.add(_template.fingerprint(admin, schema))
    finally:
        admin.run(admin.connection.execute, f"DROP DATABASE {unique}")
    assert len(prints) == 4


def test_database_that_cannot_be_created_is_one_error(admin: Admin, unique: str) -> None:
    """Whatever the server says against a new database is shown as the reason."""
    with pytest.raises(ServerError, match=r"could not be created: .*already exists.*room for it"):
        admin.run(_copies.create, admin.connection, "postgres", "template0")
