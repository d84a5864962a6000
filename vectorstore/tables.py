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
