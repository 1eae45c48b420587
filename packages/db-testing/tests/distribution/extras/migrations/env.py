"""Run the migrations by psycopg."""

from alembic import context
from models import Base
from sqlalchemy import create_engine, make_url

url = make_url(context.config.get_main_option("sqlalchemy.url", ""))
engine = create_engine(url.set(drivername="postgresql+psycopg"))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
