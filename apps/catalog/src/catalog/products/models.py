"""Products as the database holds them."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from catalog.database import Base


class Product(Base):
    """Describe what a tenant sells; row-level security shows it to that tenant only."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]
    sku: Mapped[str]
    """What the tenant calls it."""
    name: Mapped[str]
    description: Mapped[str]
    category_id: Mapped[int] = mapped_column(ForeignKey("categories.id"))
    attributes: Mapped[dict[str, str]]
    embedding: Mapped[list[float]] = mapped_column(deferred=True)
    created_at: Mapped[datetime] = mapped_column(server_default="now()")
