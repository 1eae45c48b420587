"""Partitions of the price history, synchronously, on psycopg."""

from datetime import date

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from catalog.maintenance import partitions

JANUARY, FEBRUARY, MARCH = (date(2026, month, 1) for month in (1, 2, 3))

WHERE = text("SELECT tableoid::regclass::text, count(*) FROM prices GROUP BY tableoid")


@pytest.fixture
def history(db_sync: Session) -> Session:
    """Write a price for each month of two years, from 2025 on."""
    db_sync.execute(text("INSERT INTO tenants (name, key_sha256) VALUES ('Ada''s', '')"))
    db_sync.execute(
        text(
            "INSERT INTO products (tenant_id, sku, name, category_id, embedding)"
            " SELECT id, 'LMP', 'Lamp', 9, array_fill(1, ARRAY[256])::vector FROM tenants"
        )
    )
    db_sync.execute(
        text(
            "INSERT INTO prices SELECT p.tenant_id, p.id, 'EUR', month, 1 FROM products AS p,"
            " generate_series('2025-01-01 UTC', '2026-12-01 UTC', interval '1 month') AS month"
        )
    )
    return db_sync


def _rows(session: Session) -> dict[str, int]:
    return {name: number for name, number in session.execute(WHERE)}  # noqa: C416 - typed rows


def test_a_partition_is_made_for_each_month(db_sync: Session) -> None:
    """Over the turn of a year, from the month that the day lies in."""
    made = partitions.create(db_sync.connection(), date(2025, 12, 24), 3)
    assert made == [date(2025, 12, 1), JANUARY, FEBRUARY]
    assert partitions.months(db_sync.connection()) == made


def test_what_is_there_is_not_made_again(db_sync: Session) -> None:
    """A timer runs every day."""
    connection = db_sync.connection()
    partitions.create(connection, JANUARY, 2)
    assert partitions.create(connection, JANUARY, 3) == [MARCH]
    assert partitions.create(connection, JANUARY, 3) == []


def test_prices_move_to_their_month(history: Session) -> None:
    """From the default partition, where they were for want of another; the rest stays there."""
    partitions.create(history.connection(), JANUARY, 2)
    assert _rows(history) == {"prices_2026_01": 1, "prices_2026_02": 1, "prices_default": 22}


def test_new_prices_go_to_their_month(history: Session) -> None:
    """To the microsecond."""
    partitions.create(history.connection(), JANUARY, 2)
    history.execute(
        text(
            "INSERT INTO prices SELECT tenant_id, id, 'USD', moment, 1 FROM products,"
            " unnest(ARRAY['2026-01-31 23:59:59.999999Z', '2026-02-01Z']::timestamptz[]) AS moment"
        )
    )
    assert _rows(history) == {"prices_2026_01": 2, "prices_2026_02": 2, "prices_default": 22}


def test_months_begin_at_midnight_in_utc(history: Session) -> None:
    """Whatever the time zone of whoever does the maintenance."""
    history.execute(text("SET LOCAL TIME ZONE 'Pacific/Kiritimati'"))
    partitions.create(history.connection(), JANUARY, 1)
    assert _rows(history)["prices_2026_01"] == 1


def test_old_months_are_retired_and_lose_nothing(history: Session) -> None:
    """What a product costs may have been set long ago."""
    connection = history.connection()
    partitions.create(connection, JANUARY, 3)
    assert partitions.retire(connection, date(2026, 3, 15)) == [JANUARY, FEBRUARY]
    assert partitions.months(connection) == [MARCH]
    assert _rows(history) == {"prices_2026_03": 1, "prices_default": 23}


def test_nothing_old_is_nothing_done(db_sync: Session) -> None:
    """No lock is taken for it either."""
    assert partitions.retire(db_sync.connection(), JANUARY) == []


def test_a_retired_month_can_be_made_again(history: Session) -> None:
    """With the prices that it had."""
    connection = history.connection()
    for _ in range(2):
        assert partitions.create(connection, JANUARY, 1) == [JANUARY]
        partitions.retire(connection, FEBRUARY)
    assert _rows(history) == {"prices_default": 24}
