"""The ways of isolating a test that are compared: ours, by hand, and other packages'.

Each is the fixture `db` and what it needs. `nothing` is a floor: the same session, nothing undone,
no plugin. Those on psycopg and on Django are synchronous, and have floors of their own.
"""

from __future__ import annotations

from suites import TESTS, Suite


def synchronous(tests: str, fixture: str = "db") -> str:
    """Return tests that do the same without an event loop."""
    return tests.replace("await ", "").replace("async ", "").replace("db", fixture)


SYNCHRONOUS = synchronous(TESTS)
OURS_SYNCHRONOUS = synchronous(TESTS, "db_sync")

FLOOR = Suite(
    "nothing",
    """
@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
""",
)
FLOOR_ON_PSYCOPG = Suite(
    "nothing, psycopg",
    """
@pytest.fixture(scope="session")
def sync_engine(engine):
    sync_engine = create_engine(engine.url.set(drivername="postgresql+psycopg"))
    yield sync_engine
    sync_engine.dispose()

@pytest.fixture
def db(sync_engine):
    with sessionmaker(sync_engine)() as session:
        yield session
""",
    tests=SYNCHRONOUS,
)
OURS = [
    Suite("db-testing rollback", options=["-p", "db_testing", "--db-isolation=rollback"]),
    Suite("db-testing commit", options=["-p", "db_testing", "--db-isolation=commit"]),
]
OURS_ON_PSYCOPG = [
    Suite(
        "db-testing rollback, psycopg",
        "",
        OURS_SYNCHRONOUS,
        ["-p", "db_testing", "--db-isolation=rollback"],
    ),
    Suite(
        "db-testing commit, psycopg",
        "",
        OURS_SYNCHRONOUS,
        ["-p", "db_testing", "--db-isolation=commit"],
    ),
]
DELETE_SCRIPT = """
SCRIPT = "; ".join(f"DELETE FROM {table}" for table in reversed(Base.metadata.sorted_tables))

@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
    async with engine.begin() as connection:
        await (await connection.get_raw_connection()).driver_connection.execute(SCRIPT)
"""
SEQUENCES_TOO = """
SCRIPT += "; SELECT setval(seqrelid, seqstart, false) FROM pg_sequence"
"""
PEERS = [
    Suite(
        "rollback by SQLAlchemy's recipe",
        remark="for one connection, leaves sequences",
        conftest="""
@pytest.fixture
async def db(engine):
    async with engine.connect() as connection:
        transaction = await connection.begin()
        mode = {"join_transaction_mode": "create_savepoint"}
        async with async_sessionmaker(connection, **mode)() as session:
            yield session
        await transaction.rollback()
""",
    ),
    Suite(
        "DELETE from every table",
        remark="leaves sequences, deletes seeded rows",
        conftest="""
@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
    async with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            await connection.execute(table.delete())
""",
    ),
    Suite(
        "DELETE from every table in one script",
        remark="leaves sequences, deletes seeded rows",
        conftest=DELETE_SCRIPT,
    ),
    Suite(
        "DELETE from every table and setval of every sequence in one script",
        remark="deletes seeded rows",
        conftest=DELETE_SCRIPT + SEQUENCES_TOO,
    ),
    Suite(
        "TRUNCATE of every table",
        remark="deletes seeded rows",
        conftest="""
TRUNCATE = "TRUNCATE " + ", ".join(Base.metadata.tables) + " RESTART IDENTITY CASCADE"

@pytest.fixture
async def db(engine):
    async with async_sessionmaker(engine)() as session:
        yield session
    async with engine.begin() as connection:
        await connection.execute(text(TRUNCATE))
""",
    ),
    Suite(
        "clone of a template for each test",
        """
@pytest.fixture(scope="session")
async def template(engine):
    name = engine.url.database
    await engine.dispose()
    server = create_async_engine(engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        yield name, connection
    await server.dispose()

@pytest.fixture
async def db(template):
    name, server = template
    await server.execute(text(f"CREATE DATABASE {name}_clone TEMPLATE {name} STRATEGY FILE_COPY"))
    engine = create_async_engine(server.engine.url.set(database=f"{name}_clone"))
    async with async_sessionmaker(engine)() as session:
        yield session
    await engine.dispose()
    await server.execute(text(f"DROP DATABASE {name}_clone"))
""",
    ),
    Suite(
        "schema built for each test",
        """
@pytest.fixture
async def db(engine):
    # Together the locks of 1,000 tables are more than a server has room for.
    for step in (Base.metadata.drop_all, Base.metadata.create_all):
        async with engine.begin() as connection:
            await connection.run_sync(step)
    async with async_sessionmaker(engine)() as session:
        yield session
""",
    ),
    Suite(
        "pytest-sqla",
        remark="for one connection, leaves sequences",
        conftest="""
@pytest.fixture(scope="session")
def sqla_url(engine):
    return engine.url

@pytest.fixture(scope="session")
def sqla_schema():
    pass

@pytest.fixture
def db(sqla_async_session):
    return sqla_async_session
""",
        options=["-p", "sqla"],
    ),
    Suite(
        "pytest-async-sqlalchemy",
        remark="for one connection, leaves sequences",
        conftest="""
import asyncio

@pytest.fixture(scope="session")
def event_loop():  # as its README has it
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()

@pytest.fixture(scope="session")
def _database_url():
    name = f"benchmark_{uuid.uuid4().hex}"
    url = make_url(os.environ["BENCHMARK_SERVER"]).set(database=name)
    return url.render_as_string(hide_password=False)

@pytest.fixture(scope="session")
def init_database():
    return Base.metadata.create_all

@pytest.fixture
def db(db_session):
    return db_session
""",
        options=["-p", "async-sqlalchemy"],
    ),
]
PEERS_ON_PSYCOPG = [
    Suite(
        "pytest-postgresql",
        """
from pytest_postgresql.factories import postgresql, postgresql_noproc
from sqlalchemy import StaticPool

url = make_url(os.environ["BENCHMARK_SERVER"])

def load(**where):
    engine = create_engine("postgresql+psycopg://", connect_args=where)
    Base.metadata.create_all(engine)
    engine.dispose()

server = postgresql_noproc(
    host=url.query["host"],
    port=url.query.get("port", 5432),
    user=url.username,
    dbname=f"benchmark_{uuid.uuid4().hex}",
    load=[load],
)
postgresql = postgresql("server")

@pytest.fixture
def db(postgresql):
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: postgresql, poolclass=StaticPool
    )
    with sessionmaker(engine)() as session:
        yield session
""",
        tests=SYNCHRONOUS,
        options=["-p", "pytest_postgresql"],
    ),
    Suite(
        "pgsql-test",
        remark="commits by SQLAlchemy's recipe, for one connection, leaves sequences",
        conftest="""
from pgsql_test import get_connections, seed
from sqlalchemy import StaticPool

def engine_on(client):
    client.connection.cursor_factory = None  # SQLAlchemy reads tuples
    return create_engine(
        "postgresql+psycopg2://", creator=lambda: client.connection, poolclass=StaticPool
    )

def load(context):
    with engine_on(context["pg"]).begin() as connection:
        Base.metadata.create_all(connection)

@pytest.fixture(scope="session")
def connections():
    url = make_url(os.environ["BENCHMARK_SERVER"])
    where = {"host": url.query["host"], "user": url.username, "database": "postgres"}
    connections = get_connections(where, {"prefix": "benchmark_"}, [seed.fn(load)])
    yield connections
    connections.teardown()

@pytest.fixture(scope="session")
def pgsql_test_engine(connections):
    engine = engine_on(connections.pg)
    engine.connect().close()  # the first one rolls back
    return engine

@pytest.fixture
def db(connections, pgsql_test_engine):
    connections.pg.before_each()
    with pgsql_test_engine.connect() as connection:
        transaction = connection.begin()
        with sessionmaker(connection, join_transaction_mode="create_savepoint")() as session:
            yield session
        connections.pg.after_each()
        transaction.rollback()
""",
        tests=SYNCHRONOUS,
    ),
]

DJANGO = """
from django.conf import settings
from django.db import connections

NAME = f"benchmark_{uuid.uuid4().hex}"
URL = make_url(os.environ["BENCHMARK_SERVER"]).set(drivername="postgresql+psycopg")
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": NAME,
            "USER": URL.username,
            "HOST": URL.query["host"],
        }
    },
    INSTALLED_APPS=["shop"],
)

@pytest.fixture(scope="session")
def django_db_setup():
    server = create_engine(URL, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {NAME}"))
    engine = create_engine(URL.set(database=NAME))
    Base.metadata.create_all(engine)
    engine.dispose()
    yield
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {NAME} WITH (FORCE)"))
    server.dispose()
"""
DJANGO_FILES = {
    "shop/__init__.py": "",
    "shop/models.py": """
import os
from django.db import models

class Status(models.TextField):
    def db_type(self, connection):
        return "status"

def table(number):
    return type(f"Table{number}", (models.Model,), {
        "__module__": __name__,
        "Meta": type("Meta", (), {"db_table": f"table_{number}"}),
        "id": models.AutoField(primary_key=True),
        "name": models.TextField(unique=True),
        "amount": models.IntegerField(db_index=True),
        "status": Status(),
        "details": models.JSONField(),
    })

TABLES = [table(number) for number in range(int(os.environ["BENCHMARK_TABLES"]))]
""",
}
DJANGO_TESTS = """
import os
import uuid
import pytest
from django.db import transaction
from shop.models import TABLES

ROWS = int(os.environ["BENCHMARK_ROWS"])

@pytest.mark.parametrize("number", range(int(os.environ["BENCHMARK_TESTS"])))
def test_writes_and_reads(db, number):
    table = TABLES[number % len(TABLES)]
    names = [uuid.uuid4().hex for _ in range(ROWS)]
    with transaction.atomic():
        table.objects.bulk_create(
            table(name=name, amount=number, status="open", details={"number": number})
            for name in names
        )
    found = list(table.objects.filter(name__in=names))
    assert [row.details for row in found] == ROWS * [{"number": number}]
"""


def on_django(name: str, fixture: str, remark: str = "") -> Suite:
    """Return a suite of Django's: the same tables, and tests that do the same."""
    return Suite(name, DJANGO + fixture, DJANGO_TESTS, ["-p", "django"], remark, DJANGO_FILES)


FLOOR_ON_DJANGO = on_django(
    "nothing, Django",
    """
@pytest.fixture
def db(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        yield
""",
)
PEERS_ON_DJANGO = [
    on_django("Django's TestCase", "", "leaves sequences"),
    on_django(
        "Django's TransactionTestCase",
        """
@pytest.fixture
def db(transactional_db):
    pass
""",
        "leaves sequences, deletes seeded rows",
    ),
]
FLOORS = (
    dict.fromkeys([FLOOR, *OURS, *PEERS], FLOOR)
    | dict.fromkeys([FLOOR_ON_PSYCOPG, *OURS_ON_PSYCOPG, *PEERS_ON_PSYCOPG], FLOOR_ON_PSYCOPG)
    | dict.fromkeys([FLOOR_ON_DJANGO, *PEERS_ON_DJANGO], FLOOR_ON_DJANGO)
)
"""What each is compared with: the same tests, and nothing undone."""
