"""An application's module `database`, as many are written; its server is in the environment."""

import functools
import os
from asyncio import current_task

from models import Item
from sqlalchemy import event, func, select
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)

URL = os.environ["PRODUCTION"]
COUNT = select(func.count()).select_from(Item)


def make_engine() -> AsyncEngine:
    return create_async_engine(URL, pool_size=1, max_overflow=0, pool_timeout=1, pool_pre_ping=True)


@functools.cache
def get_engine() -> AsyncEngine:
    return create_async_engine(URL)


engine = make_engine()
ORIGINAL_POOL = engine.pool
autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
session_factory = async_sessionmaker(engine, expire_on_commit=False)

unbound = async_sessionmaker(class_=AsyncSession)
scoped = async_scoped_session(unbound, scopefunc=current_task)

serialized: list[object] = []


def serialize(value: object) -> str:
    serialized.append(value)
    return '"serialized"'


always_autocommit = create_async_engine(
    URL, isolation_level="AUTOCOMMIT", json_serializer=serialize, echo=True, logging_name="own"
)


@event.listens_for(engine.sync_engine, "connect")
def set_time_zone(connection: object, record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("SET TIME ZONE 'Asia/Kathmandu'")
    cursor.close()
