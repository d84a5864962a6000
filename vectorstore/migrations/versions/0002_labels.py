"""Labels say more than who may read, can be overridden, are held, and have a history (structural)."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds what a label says beside its access class, what a person said instead of the source, and every change."""
    for name in ("purpose", "retention"):
        op.add_column("version", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("version", sa.Column("origin", sa.Text, nullable=False, server_default="rules"))
    op.add_column("document", sa.Column("override", sa.Text, nullable=True))
    op.add_column("document", sa.Column("ruled", sa.Text, nullable=True))
    op.add_column("document", sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "label_change",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("document", sa.Text, sa.ForeignKey("document.id"), nullable=False, index=True),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("old", sa.Text, nullable=True),
        sa.Column("new", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
