"""Whom an identity provider's accounts stand for, and the secret that makes the first administrator (structural)."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Makes both tables."""
    op.create_table(
        "provider_account",
        sa.Column("issuer", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("person", sa.Text, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("bound", sa.Text, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.UniqueConstraint("issuer", "person"),
    )
    op.create_table(
        "first_administrator",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("secret_sha256", sa.Text, nullable=False, unique=True),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("expires", sa.Text, nullable=False),
        sa.Column("used", sa.Boolean, nullable=False),
    )
