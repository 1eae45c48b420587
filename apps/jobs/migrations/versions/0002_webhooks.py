"""Orders, events, endpoints and deliveries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"

STATE = postgresql.ENUM("pending", "delivered", "dead", "discarded", name="delivery_state")


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def _time(name: str, *, default: str | None = None) -> sa.Column[object]:
    server_default = None if default is None else sa.text(default)
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=default is None,
        server_default=server_default,
    )


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "orders",
        _id(),
        sa.Column("customer", sa.String, nullable=False),
        sa.Column("total", sa.Numeric(12, 2), nullable=False),
        _time("placed_at", default="now()"),
        _time("paid_at"),
        sa.CheckConstraint("total > 0", name="ck_orders_total_is_positive"),
    )
    op.create_table(
        "events",
        _id(),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("payload", postgresql.JSONB, nullable=False),
        _time("occurred_at", default="now()"),
        _time("fanned_out_at"),
    )
    op.create_index("ix_events_occurred_at", "events", ["occurred_at"])
    op.create_table(
        "endpoints",
        _id(),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("event_types", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False, server_default="true"),
        _time("created_at", default="now()"),
    )
    op.create_table(
        "deliveries",
        _id(),
        sa.Column(
            "event_id",
            sa.BigInteger,
            sa.ForeignKey("events.id", name="fk_deliveries_event_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "endpoint_id",
            sa.BigInteger,
            sa.ForeignKey("endpoints.id", name="fk_deliveries_endpoint_id"),
            nullable=False,
        ),
        sa.Column("state", STATE, nullable=False, server_default="pending"),
        sa.Column("failures", sa.BigInteger, nullable=False, server_default="0"),
        _time("created_at", default="now()"),
        _time("ended_at"),
        sa.UniqueConstraint("event_id", "endpoint_id", name="uq_deliveries_event_id_endpoint_id"),
    )
    op.create_index("ix_deliveries_endpoint_id", "deliveries", ["endpoint_id"])
    op.create_index(
        "ix_deliveries_dead", "deliveries", ["id"], postgresql_where=sa.text("state = 'dead'")
    )
    op.create_table(
        "attempts",
        _id(),
        sa.Column(
            "delivery_id",
            sa.BigInteger,
            sa.ForeignKey("deliveries.id", name="fk_attempts_delivery_id", ondelete="CASCADE"),
            nullable=False,
        ),
        _time("at", default="clock_timestamp()"),
        sa.Column("status", sa.BigInteger),
        sa.Column("error", sa.String),
    )
    op.create_index("ix_attempts_delivery_id_id", "attempts", ["delivery_id", "id"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("attempts", "deliveries", "endpoints", "events", "orders"):
        op.drop_table(table)
    STATE.drop(op.get_bind())
