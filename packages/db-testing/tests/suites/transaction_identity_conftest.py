"""A schema with a trigger that tells rows of its transaction from older ones."""

import pytest
from models import Base, Item
from sqlalchemy import DDL, event

from db_testing import Schema

FUNCTION = """
    CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.xmin <> pg_current_xact_id()::xid THEN
            INSERT INTO change VALUES (OLD.id);
        END IF;
        RETURN NULL;
    END $$
"""
TRIGGER = """
    CREATE TRIGGER note AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION note_change()
"""
for statement in ("CREATE TABLE change (id int)", FUNCTION, TRIGGER):
    event.listen(Item.__table__, "after_create", DDL(statement))  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    return Schema.from_metadata(Base.metadata)
