"""What of a passage is embedded and indexed: its title and headings before its text."""

from __future__ import annotations

from collections.abc import Sequence


def context_text(title: str, heading: Sequence[str], text: str) -> str:
    """Title, heading path and text, a line each; the prefix tells short passages of different documents apart."""
    return "\n".join(part for part in (title, " > ".join(heading), text) if part)
