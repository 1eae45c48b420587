import pytest
import pytest_asyncio
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import async_sessionmaker

from bookings import database
from bookings.database import Base, get_session
from bookings.main import app
from bookings.models import Building, Organisation, Room, User
from db_testing import Schema


@pytest.fixture
def engine(db_engine):
    return db_engine


@pytest.fixture
def session(db):
    return db


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


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Return what the database must look like."""
    return Schema.from_metadata(Base.metadata)
