import asyncio
import os

import pytest
import pytest_asyncio
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

from bookings import database
from bookings.database import Base, get_session
from bookings.main import app
from bookings.models import Building, Organisation, Room, User

TEST_DATABASE_URL = os.environ.get(
    "TEST_DATABASE_URL", "postgresql+asyncpg://postgres:postgres@localhost:5432/bookings_test"
)


@pytest.fixture(scope="session")
def event_loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest_asyncio.fixture
async def engine():
    # NullPool: otherwise "got Future attached to a different loop".
    engine = create_async_engine(TEST_DATABASE_URL, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()


@pytest_asyncio.fixture
async def session(engine):
    async with async_sessionmaker(engine, expire_on_commit=False)() as session:
        yield session


@pytest_asyncio.fixture
async def client(engine, monkeypatch):
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def override():
        async with sessions() as session:
            yield session

    # Background tasks open sessions by themselves.
    monkeypatch.setattr(database, "async_session", sessions)
    app.dependency_overrides[get_session] = override
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        yield client
    app.dependency_overrides.clear()


@pytest_asyncio.fixture
async def organisation(session):
    organisation = Organisation(name="Analytical Engines")
    session.add(organisation)
    await session.commit()
    return organisation


@pytest_asyncio.fixture
async def user(session, organisation):
    user = User(organisation_id=organisation.id, email="ada@example.org", name="Ada")
    session.add(user)
    await session.commit()
    return user


@pytest_asyncio.fixture
async def building(session, organisation):
    building = Building(organisation_id=organisation.id, name="Main", address="1 Dorset Street")
    session.add(building)
    await session.commit()
    return building


@pytest_asyncio.fixture
async def room(session, building):
    room = Room(building_id=building.id, name="Lovelace", seats=4, price=20)
    session.add(room)
    await session.commit()
    return room
