"""What the identity provider knows its own session by, for signing out there too (structural)."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds the provider's ID token to a session; NULL: it was begun otherwise, has ended, or needs none."""
    op.add_column("session", sa.Column("provider_token", sa.Text, nullable=True))
