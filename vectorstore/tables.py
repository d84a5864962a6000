"""The catalog's tables, as the newest migration leaves them."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

PROPERTY = sa.Table("property", METADATA, sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text))
ACCESS_CLASS = sa.Table(
    "access_class",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text),
    sa.Column("kb", sa.Text),
    sa.Column("classification", sa.Text),
    sa.Column("groups", sa.Text),
    sa.Column("owner", sa.Text),
)
DOCUMENT = sa.Table(
    "document",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("source", sa.Text),
    sa.Column("path", sa.Text),
    sa.Column("live_version", sa.Integer),
    sa.Column("override", sa.Text),
    sa.Column("ruled", sa.Text),
    sa.Column("held", sa.Boolean),
)
VERSION = sa.Table(
    "version",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("document", sa.Text),
    sa.Column("number", sa.Integer),
    sa.Column("state", sa.Text),
    sa.Column("access_class", sa.Integer),
    sa.Column("title", sa.Text),
    sa.Column("media_type", sa.Text),
    sa.Column("content_sha256", sa.Text),
    sa.Column("size", sa.Integer),
    sa.Column("modified_ns", sa.Integer),
    sa.Column("text", sa.Text),
    sa.Column("pages", sa.Text),
    sa.Column("metadata", sa.Text),
    sa.Column("created", sa.Text),
    sa.Column("passages", sa.Integer),
    sa.Column("purpose", sa.Text),
    sa.Column("retention", sa.Text),
    sa.Column("origin", sa.Text),
)
PASSAGE = sa.Table(
    "passage",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("version", sa.Integer),
    sa.Column("page", sa.Integer),
    sa.Column("start", sa.Integer),
    sa.Column("end", sa.Integer),
    sa.Column("heading", sa.Text),
    sa.Column("text", sa.Text),
    sa.Column("content_sha256", sa.Text),
)
LABEL_CHANGE = sa.Table(
    "label_change",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("document", sa.Text),
    sa.Column("at", sa.Text),
    sa.Column("actor", sa.Text),
    sa.Column("kind", sa.Text),
    sa.Column("old", sa.Text),
    sa.Column("new", sa.Text),
    sa.Column("reason", sa.Text),
)
