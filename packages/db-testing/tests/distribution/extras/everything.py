"""What needs an extra: psycopg, Alembic, pytest-alembic."""

from pathlib import Path

from models import Base, Item
from sqlalchemy import select
from sqlalchemy.orm import Session

from db_testing.migrations import MigrationTests


def test_synchronous_code(db_sync: Session) -> None:
    db_sync.add(Item(name="Ada"))
    db_sync.commit()
    assert db_sync.scalars(select(Item.name)).all() == ["Ada"]


class TestMigrations(MigrationTests):
    ini = Path(__file__).parent / "alembic.ini"
    metadata = Base.metadata
