"""Users as the database holds them."""

from datetime import datetime

from sqlalchemy import CHAR, BigInteger, CheckConstraint, DateTime, Identity, LargeBinary, func
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base


class User(Base):
    """Own one set of books, kept in `base_currency`, which never changes."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("octet_length(token_digest) = 32", name="token_digest_is_sha256"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    """In lower case, so that its uniqueness ignores case."""
    name: Mapped[str]
    base_currency: Mapped[str] = mapped_column(CHAR(3))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """SHA-256 of the token, which itself is never stored."""
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
