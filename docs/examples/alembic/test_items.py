from db_testing.migrations import MigrationTests
from models import Base, Item
from sqlalchemy.ext.asyncio import AsyncSession


async def test_tables_are_those_of_the_migrations(db: AsyncSession) -> None:
    db.add(Item(name="lamp"))
    await db.commit()


class TestMigrations(MigrationTests):
    ini = "alembic.ini"
    metadata = Base.metadata
