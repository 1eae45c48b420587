"""Give users passwords, and tokens that are signed instead of stored."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Replace the digest; who has registered before has a hash that no password matches."""
    op.drop_column("users", "token_digest")
    op.add_column("users", sa.Column("password_hash", sa.String(), nullable=True))
    op.execute("UPDATE users SET password_hash = '!'")
    op.alter_column("users", "password_hash", nullable=False)
    op.add_column(
        "users",
        sa.Column("token_generation", sa.Integer(), server_default=sa.text("1"), nullable=False),
    )


def downgrade() -> None:
    """Bring the digest back, as that of a random token that nobody has."""
    op.drop_column("users", "token_generation")
    op.drop_column("users", "password_hash")
    op.add_column("users", sa.Column("token_digest", sa.LargeBinary(), nullable=True))
    op.execute("UPDATE users SET token_digest = sha256(gen_random_uuid()::text::bytea)")
    op.alter_column("users", "token_digest", nullable=False)
    op.create_unique_constraint(op.f("uq_users_token_digest"), "users", ["token_digest"])
    op.create_check_constraint(
        op.f("ck_users_token_digest_is_sha256"), "users", "octet_length(token_digest) = 32"
    )
