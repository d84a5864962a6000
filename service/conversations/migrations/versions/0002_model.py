"""The model that a conversation was asked of (structural)."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the column; who asked before chose none."""
    op.add_column("conversation", sa.Column("model", sa.Text, nullable=True))
