"""extensions= and seed=: what comes before a schema and after it, once, in the template."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, text

from db_testing._template import _template
from db_testing.errors import SchemaError
from db_testing.schema import Schema

from .test_sql import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from db_testing._schema._seed import SeedFunction
    from db_testing._server._admin import Admin
    from db_testing.schema import SchemaLike

CALLS: list[str] = []


@pytest.fixture
def table(unique: str) -> Table:
    """Return a table that no other test has."""
    return Table(unique, MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))


async def write(session: AsyncSession, table: str = "", name: str = "a") -> None:
    """Write a row, and leave it uncommitted."""
    CALLS.append(name)
    await session.execute(text(f"INSERT INTO {table} (name) VALUES ('{name}')"))


def write_synchronously(session: Session, table: Table) -> None:
    """Do the same in synchronous code."""
    session.execute(insert(table).values(name="a"))


async def fail(session: AsyncSession) -> None:
    """Fail as applications do."""
    raise KeyError("nothing")


@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
def test_seed_is_written_once_and_copied(
    template: Callable[[SchemaLike], str], clone: Callable[[str], URL], table: Table, kind: str
) -> None:
    """Each clone has the rows, committed, with their ids; the sequence goes on behind them."""
    CALLS.clear()
    seed = (
        functools.partial(write, table=table.name)
        if kind == "asynchronous"
        else functools.partial(write_synchronously, table=table)
    )
    schema = Schema.from_metadata(table.metadata, seed=seed)
    for _ in range(2):
        url = clone(template(schema))
        assert fetch(url, f"SELECT * FROM {table.name}") == [(1, "a")]
        insertion = f"INSERT INTO {table.name} DEFAULT VALUES RETURNING id"
        assert fetch(url, insertion) == [(2,)]
    assert CALLS in (["a"], [])


def test_changed_seed_is_written_on_the_same_tables(
    template: Callable[[SchemaLike], str], clone: Callable[[str], URL], table: Table
) -> None:
    """The tables have a template of their own, so that they are built once for all seeds."""
    built = []

    class Counted:
        def fingerprint(self) -> str:
            return table.name

        def apply(self, url: URL) -> None:
            built.append(url)
            Schema.from_metadata(table.metadata).apply(url)

    for name in ("a", "b"):
        seed = functools.partial(write, table=table.name, name=name)
        url = clone(template(Schema(Counted(), seed=seed)))
        assert fetch(url, f"SELECT name FROM {table.name}") == [(name,)]
    assert len(built) == 1


def test_seed_that_fails_is_named(
    template: Callable[[SchemaLike], str], table: Table, admin: Admin
) -> None:
    """The error shows the line; no template is left that lacks its rows."""
    schema = Schema.from_metadata(table.metadata, seed=fail)
    with pytest.raises(SchemaError, match=r"seed=fail failed in .*test_seed.py, line \d+: KeyErr"):
        template(schema)
    template(Schema.from_metadata(table.metadata))  # so that it goes as well
    with pytest.raises(SchemaError):
        _template.ensure(admin, schema, _template.fingerprint(admin, schema))


def test_fingerprint_follows_what_a_seed_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file, its arguments, and all files of the packages that its module uses."""
    package = tmp_path / "shop_of_seeds"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "taxonomy.py").write_text("NAMES = ['a']\n")
    (package / "taxonomy.csv").write_text("a,b\n")
    module = tmp_path / "seeds_of_a_test.py"
    module.write_text("from shop_of_seeds import taxonomy\nasync def seed(session, n=0): pass\n")
    monkeypatch.syspath_prepend(tmp_path)

    def fingerprint(**arguments: int) -> str:
        for name in ("shop_of_seeds", "shop_of_seeds.taxonomy", "seeds_of_a_test"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        seed = importlib.import_module("seeds_of_a_test").seed
        if arguments:
            seed = functools.partial(seed, **arguments)
        return Schema.from_metadata(seed=seed).fingerprint()

    prints = [fingerprint()]
    assert fingerprint() == prints[0]
    prints += [fingerprint(n=1), fingerprint(n=2)]
    for path in (module, package / "taxonomy.py", package / "taxonomy.csv"):
        path.write_text(path.read_text() + "\n")
        prints.append(fingerprint())
    assert len(set(prints)) == len(prints)
    assert Schema.from_metadata().fingerprint() not in prints


class Import(Protocol):
    """See the fixture."""

    def __call__(self, **sources: str) -> ModuleType:
        """Write modules, `__` in a name for a folder, and import the last of them anew."""
        ...


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    """Write and import modules of the project's own."""
    monkeypatch.syspath_prepend(tmp_path)
    before = {*sys.modules}

    def forget() -> None:
        for name in {*sys.modules} - before:
            del sys.modules[name]
        importlib.invalidate_caches()

    def import_(**sources: str) -> ModuleType:
        for name, source in sources.items():
            path = tmp_path.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        forget()
        return importlib.import_module([*sources][-1].replace("__", "."))

    yield import_
    forget()


def print_of(seed: SeedFunction) -> str:
    """Return the fingerprint of a schema with a seed."""
    return Schema.from_metadata(seed=seed).fingerprint()


SEEDS = """
import functools
from shop.seeds import *

def made(n, *, wrapped=False):
    @functools.wraps(made)
    def wrapper(session): return n
    def seed(session): return n
    return wrapper if wrapped else seed

def default(n):
    def seed(session, n=n, *, m=[n]): pass
    return seed

class Seeder:
    def __init__(self, n): self.n = [n]
    def seed(self, session): pass

class Slots:
    __slots__ = ("n",)
    def __init__(self, n): self.n = n
    def __repr__(self): return "Slots"
    def seed(self, session): pass

def seed(session, what=None): pass

alike = [lambda session: 1, lambda session: 2, lambda session: [1 for _ in ()]]
differing = [
    *alike, seed, *map(made, (1, 2)), made(1, wrapped=True), made(2, wrapped=True),
    default(1), default(2), Seeder(1).seed, Seeder(2).seed, Slots(1).seed, Slots(2).seed,
    functools.partial(seed, what=1), functools.partial(seed, what={1}),
    functools.partial(seed, what=made(1)), functools.partial(seed, what=made(2)),
    functools.lru_cache(made(3)), functools.lru_cache(made(4)),
]
"""


def test_each_seed_has_a_fingerprint_of_its_own(modules: Import) -> None:
    """What a function was made with counts, not its name alone."""
    module = modules(shop__seeds="", all_seeds=SEEDS)
    prints = [print_of(seed) for seed in module.differing]
    assert [prints.index(each) for each in prints] == [*range(len(prints))]


def test_seed_that_refers_to_itself(modules: Import) -> None:
    """A circle of objects has an end."""
    module = modules(
        all_seeds="""
class Seeder:
    def __init__(self, n): self.n, self.seeds = n, [self.seed, self]
    def seed(self, session): pass
"""
    )
    first, same, other = map(module.Seeder, (1, 1, 2))
    assert print_of(first.seed) == print_of(same.seed) != print_of(other.seed)


def test_seed_that_holds_a_request(
    modules: Import, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a fixture's request says, such as the test that came first, is no part of a seed."""
    module = modules(all_seeds="def made(of):\n    def seed(session): return of\n    return seed")
    before = print_of(module.made(request))
    monkeypatch.setattr(request.node, "name", "test_another")
    assert print_of(module.made(request)) == before


def test_seed_too_deep_to_tell(modules: Import) -> None:
    """It is one error, with what to do."""
    module = modules(
        all_seeds="""
class Link:
    def __init__(self, link): self.link = link
    def seed(self, session): pass
"""
    )
    link = module.Link(None)
    for _ in range(5000):
        link = module.Link(link)
    with pytest.raises(SchemaError, match="so deep that nothing tells when it changes"):
        print_of(link.seed)


def test_fingerprint_is_the_same_in_each_process(tmp_path: Path) -> None:
    """Neither addresses, the order of sets nor the checkout's place are of what a seed writes."""
    source = """
import collections, dataclasses, functools
from db_testing._schema import _seed

class Own: pass

@dataclasses.dataclass
class Names:
    names: set[str]

def seed(session, *what, names=frozenset({"a", "b", "c"})):
    return what in {"d", "e", "f"}

def early():
    def refers(): return later
    yield refers
    later = 1

names = {"a", "b", "c", "d"}
made = collections.defaultdict(seed)
what = [made, Own(), names, {"x": frozenset(names)}, Names(names), lambda: names, object()]
what += [next(early := early())]
print(_seed.fingerprint(functools.partial(seed, *what)))
"""
    printed = set()
    for hash_seed in ("1", "2", "3"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        (folder / "seeds.py").write_text(source)
        command = [sys.executable, "seeds.py"]
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        printed.add(subprocess.check_output(command, cwd=folder, env=env))
    assert len(printed) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "from shop_roles import ROLES",
        "import shop_roles",
        "import sys; import shop_roles",
        "def f():\n    from shop_roles import (\n        ROLES,  # :)\n    )",
        "from pkg.consts import ROLES",
        "from pkg.through import consts",
        "if True: import other, \\\n    another",
    ],
)
def test_fingerprint_follows_imports(modules: Import, statement: str) -> None:
    """Of plain modules and packages, in functions, and by what is imported, without running it."""

    def fingerprint(roles: str) -> str:
        module = modules(
            shop_roles=f"ROLES = [{roles!r}]\n",
            another="import shop_roles",
            other="",
            pkg____init__="",
            pkg__consts="from shop_roles import ROLES",
            pkg__through="from . import consts",
            seeds=f"{statement}\ndef seed(session): pass\n",
        )
        return print_of(module.seed)

    assert fingerprint("a") == fingerprint("a") != fingerprint("b")


def test_fingerprint_runs_no_module(modules: Import) -> None:
    """Who imports it in a function has a reason."""
    module = modules(
        shop____init__="raise SystemExit",
        shop__roles="raise SystemExit",
        seeds="def seed(session):\n    from shop.roles import ROLES\n",
    )
    assert print_of(module.seed)
    assert "shop" not in sys.modules


def test_fingerprint_leaves_out_what_is_no_source(modules: Import, tmp_path: Path) -> None:
    """A folder without `__init__.py` may be a project's, with environments and caches in it."""
    module = modules(shop__seeds="def seed(session): pass")
    before = print_of(module.seed)
    for name in ("venv/pyvenv.cfg", "venv/a.py", "node_modules/a.js", ".cache/a", "__pycache__/a"):
        path = tmp_path / "shop" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert print_of(module.seed) == before
    (tmp_path / "shop" / "rows.csv").write_text("")
    assert print_of(module.seed) != before


@pytest.mark.parametrize("seed", [print, eval("lambda session: None")])  # noqa: S307  # ours
def test_seed_without_a_source_is_one_error(seed: SeedFunction) -> None:
    """Nothing would tell when it changes."""
    schema = Schema.from_metadata(seed=seed)
    with pytest.raises(SchemaError, match="has no source that would tell when it changes"):
        schema.fingerprint()


def test_extensions_are_there_before_the_tables(empty: URL, unique: str) -> None:
    """A column may have a type of theirs, and one extension may need another."""
    metadata = MetaData()
    Table(unique, metadata, Column("x", Text), Column("id", Integer, primary_key=True))
    schema = Schema.from_metadata(metadata, extensions=["hstore", "earthdistance"])
    schema.apply(empty)
    names = {name for (name,) in fetch(empty, "SELECT extname FROM pg_extension")}
    assert names == {"plpgsql", "hstore", "earthdistance", "cube"}
    assert schema.fingerprint() != Schema.from_metadata(metadata).fingerprint()
    alone = Schema.from_metadata(metadata, extensions="hstore").fingerprint()
    assert alone == Schema.from_metadata(metadata, extensions=["hstore"]).fingerprint()


def test_extension_that_is_not_installed_is_one_error(empty: URL) -> None:
    """The error says which ones there are."""
    with pytest.raises(SchemaError, match=r"'postgis_x' is not installed .* It has .*hstore"):
        Schema.from_metadata(extensions=["postgis_x"]).apply(empty)
