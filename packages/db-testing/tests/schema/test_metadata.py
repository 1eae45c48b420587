"""Schema.from_metadata: what it builds, and when its fingerprint changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import (
    DDL,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Sequence,
    Table,
    Text,
    event,
    func,
    text,
)

from db_testing.schema import Schema

from .conftest import tables_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import URL


def rich(*more: str) -> MetaData:
    """Return tables with most of what DDL can say, and an enum that may have more values."""
    metadata = MetaData()
    Sequence("numbers", start=7, metadata=metadata)
    colour = Enum("RED", "BLUE", *more, name="colour")
    Table(
        "paint",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("colour", colour, nullable=False, index=True),
        Column("made", DateTime, server_default=func.now()),
        Column("note", Text, server_default=text("'it''s 100%'"), comment="why: not"),
        CheckConstraint("id > 0", name="positive"),
    )
    Table(
        "wall",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("colour", colour),
        Column("paint_id", ForeignKey("paint.id")),
        schema="house",
    )
    Table("other", metadata, Column("id", Integer, primary_key=True), schema="garden")
    return metadata


PRINT = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
module = importlib.import_module("schema.test_metadata")
print(hash("x"), module.Schema.from_metadata(module.rich()).fingerprint())
"""


def test_fingerprint_depends_on_no_order_of_indexes_and_late_constraints() -> None:
    """SQLAlchemy keeps them in sets, whose order differs from process to process."""

    def fingerprint() -> str:
        metadata = MetaData()
        one, other = (
            Table(name, metadata, Column("id", Integer, primary_key=True)) for name in "ab"
        )
        for number in range(5):
            one.append_column(Column(f"c{number}", Integer, index=True))
            # Tables that refer to each other get their foreign keys when both are there.
            one.append_column(Column(f"b{number}", ForeignKey("b.id", name=f"ab{number}")))
            other.append_column(Column(f"a{number}", ForeignKey("a.id", name=f"ba{number}")))
        return Schema.from_metadata(metadata).fingerprint()

    assert len({fingerprint() for _ in range(10)}) == 1


def test_fingerprint_is_the_same_in_every_process() -> None:
    """Workers hash strings differently, and must come to the same template."""
    folder = Path(__file__).parents[1]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PRINT, folder],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.partition(" ")[2]
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
    assert outputs == {Schema.from_metadata(rich()).fingerprint() + "\n"}


def add_column(metadata: MetaData) -> None:
    """Change a table."""
    metadata.tables["paint"].append_column(Column("new", Integer))


def add_index(metadata: MetaData) -> None:
    """Add an index."""
    Index("new", metadata.tables["paint"].c.made)


def change_default(metadata: MetaData) -> None:
    """Change a server default, which is an expression."""
    metadata.tables["paint"].c.made.server_default = None


def change_comment(metadata: MetaData) -> None:
    """Change a comment."""
    metadata.tables["paint"].c.note.comment = "because"


def add_sequence(metadata: MetaData) -> None:
    """Add a sequence that no column uses."""
    Sequence("more", metadata=metadata)


def add_ddl(metadata: MetaData) -> None:
    """Add DDL that runs after the tables are there."""
    event.listen(metadata, "after_create", DDL("CREATE VIEW v AS SELECT 1 AS one"))  # type: ignore[no-untyped-call]


def add_listener(metadata: MetaData) -> None:
    """Add a function that executes SQL, as seeds and triggers are often made."""

    def seed(_: MetaData, connection: Connection, **__: object) -> None:
        connection.exec_driver_sql(
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1::int'"
        )
        table = metadata.tables["paint"]
        connection.execute(table.insert(), [{"id": 1, "colour": "RED"}])
        connection.execute(table.insert().values(id=2, colour="BLUE"))

    event.listen(metadata, "after_create", seed)


def other_seed(metadata: MetaData) -> None:
    """Execute the same statement with other values."""

    def seed(_: MetaData, connection: Connection, **__: object) -> None:
        connection.execute(metadata.tables["paint"].insert().values(id=3, colour="RED"))

    event.listen(metadata, "after_create", seed)


CHANGES = [
    add_column,
    add_index,
    change_default,
    change_comment,
    add_sequence,
    add_ddl,
    add_listener,
    other_seed,
]


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_the_schema_changes_the_fingerprint(change: Callable[[MetaData], None]) -> None:
    """Whatever makes another database makes another template, and it can be built."""
    changed = rich()
    change(changed)
    assert Schema.from_metadata(changed).fingerprint() != Schema.from_metadata(rich()).fingerprint()


def test_value_of_an_enum_changes_the_fingerprint() -> None:
    """An enum that has one value more is another type."""
    assert (
        Schema.from_metadata(rich("GREEN")).fingerprint()
        != Schema.from_metadata(rich()).fingerprint()
    )


def test_values_of_a_seed_change_the_fingerprint() -> None:
    """The same statements with other parameters are another schema."""
    prints = set()
    for number in (1, 2):
        metadata = rich()

        def seed(
            metadata: MetaData, connection: Connection, number: int = number, **_: object
        ) -> None:
            connection.execute(metadata.tables["paint"].insert(), {"id": number})

        event.listen(metadata, "after_create", seed)
        prints.add(Schema.from_metadata(metadata).fingerprint())
    assert len(prints) == 2


@pytest.mark.parametrize("change", CHANGES)
def test_everything_is_built(change: Callable[[MetaData], None], empty: URL) -> None:
    """Named schemas, enums in two tables, sequences and listeners: all of it is applied."""
    metadata = rich()
    change(metadata)
    Schema.from_metadata(metadata).apply(empty)
    assert tables_of(empty) == ["garden.other", "house.wall", "public.paint"]


def test_schemas_of_enums_and_sequences_are_created(empty: URL) -> None:
    """A named schema may hold nothing but a type or a sequence."""
    metadata = MetaData()
    Sequence("numbers", metadata=metadata, schema="only_numbers")
    kind = Enum("a", "b", name="kind", schema="only_types")
    Table("t", metadata, Column("id", Integer, primary_key=True), Column("kind", kind))
    Schema.from_metadata(metadata).apply(empty)
    assert tables_of(empty) == ["public.t"]


def test_several_metadata_make_one_database(empty: URL) -> None:
    """Objects of several bases lie side by side; the fingerprint knows all of them."""
    more = MetaData()
    Table("more", more, Column("id", Integer, primary_key=True), schema="house")
    both = Schema.from_metadata(rich(), more)
    both.apply(empty)
    assert "house.more" in tables_of(empty)
    assert both.fingerprint() != Schema.from_metadata(rich()).fingerprint()
    assert repr(both) == "Schema.from_metadata(...)  # 4 tables"


def test_address_of_an_object_is_no_part_of_the_schema() -> None:
    """What differs from process to process without meaning does not make a new template."""
    prints = set()
    for _ in range(2):
        metadata = MetaData()

        def seed(_: MetaData, connection: Connection, **__: object) -> None:
            connection.execute(text("SELECT :x"), {"x": object()})

        event.listen(metadata, "after_create", seed)
        prints.add(Schema.from_metadata(metadata).fingerprint())
    assert len(prints) == 1
