"""The documents that a note's answer rests on (structural)."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the column; of what was given before, nothing says it."""
    op.add_column("feedback", sa.Column("documents", sa.Text, nullable=True))
