"""Partitions of the price history: one for each month, made ahead, and retired when old."""

from datetime import date

from sqlalchemy import Connection, text

_MONTHS = text("""
    SELECT c.relname FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
    WHERE inhparent = 'prices'::regclass AND c.relname ~ '^prices_[0-9]{4}_[0-9]{2}$'
    ORDER BY c.relname
""")


def months(connection: Connection) -> list[date]:
    """Return the months that have a partition."""
    return [date(int(name[-7:-3]), int(name[-2:]), 1) for name in connection.scalars(_MONTHS)]


def create(connection: Connection, first: date, number: int) -> list[date]:
    """Make partitions for so many months from the first one's; return those that were not there.

    Prices that lie in the default partition are moved. Readers and writers wait meanwhile: it takes
    a moment, if it is done before the month begins.
    """
    present = set(months(connection))
    wanted = [_later(first, months_later) for months_later in range(number)]
    made = [month for month in wanted if month not in present]
    if made:
        connection.execute(text("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE"))
    for month in made:
        name, end = _name(month), _later(month, 1)
        connection.execute(
            text(f"CREATE TABLE {name} (LIKE prices INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        )
        connection.execute(
            text(
                "WITH moved AS (DELETE FROM prices_default"  # noqa: S608 - names and dates of ours
                f" WHERE valid_from >= '{month} UTC' AND valid_from < '{end} UTC' RETURNING *)"
                f" INSERT INTO {name} SELECT * FROM moved"
            )
        )
        connection.execute(
            text(
                f"ALTER TABLE prices ATTACH PARTITION {name}"
                f" FOR VALUES FROM ('{month} UTC') TO ('{end} UTC')"
            )
        )
    return made


def retire(connection: Connection, before: date) -> list[date]:
    """Move the prices of months before one to the default partition; return those months.

    Nothing is lost: what a product costs may have been set years ago.
    """
    old = [month for month in months(connection) if month < before.replace(day=1)]
    if old:
        connection.execute(text("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE"))
    for month in old:
        name = _name(month)
        connection.execute(text(f"ALTER TABLE prices DETACH PARTITION {name}"))
        connection.execute(text(f"INSERT INTO prices_default SELECT * FROM {name}"))  # noqa: S608
        connection.execute(text(f"DROP TABLE {name}"))
    return old


def _name(month: date) -> str:
    return f"prices_{month:%Y_%m}"


def _later(month: date, number: int) -> date:
    years, months = divmod(month.month - 1 + number, 12)
    return date(month.year + years, months + 1, 1)
