"""Users as the database holds them."""

from datetime import datetime

from sqlalchemy import CHAR, BigInteger, DateTime, Identity, func, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base


class User(Base):
    """Own one set of books, kept in `base_currency`, which never changes."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    """In lower case, so that its uniqueness ignores case."""
    name: Mapped[str]
    base_currency: Mapped[str] = mapped_column(CHAR(3))
    password_hash: Mapped[str]
    """Argon2, with its salt and parameters."""
    token_generation: Mapped[int] = mapped_column(server_default=text("1"))
    """Only tokens of this generation are valid."""
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
