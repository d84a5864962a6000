"""Keys may have fewer rights than their owner (structural)."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds what a key is limited to; NULL: to nothing but its owner's rights."""
    for name in ("groups", "clearance", "roles"):
        op.add_column("api_key", sa.Column(name, sa.Text, nullable=True))
