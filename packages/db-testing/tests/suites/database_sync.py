"""A synchronous application's own objects, for a server that no test may reach."""

import os

from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import scoped_session, sessionmaker

URL = make_url(os.environ["PRODUCTION"]).set(drivername="postgresql+psycopg")

engine = create_engine(URL, pool_size=1, max_overflow=0, pool_timeout=1)
session_factory = sessionmaker(engine)
scoped = scoped_session(session_factory)
unbound = sessionmaker()
COMMITS: list[str] = []


@event.listens_for(engine, "commit")
def _note(_: object) -> None:
    COMMITS.append("commit")


def make_engine() -> object:
    return create_engine(URL)
