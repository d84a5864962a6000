"""What a disk, or a library, says of a data directory, as the product's own error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from policies.database import unusable


@contextmanager
def disk(directory: Path) -> Iterator[None]:
    """Turns what the disk or a library says of it into the product's own error."""
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        raise unusable(directory / "catalog.db", error.orig or error) from None
    except OSError as error:
        raise unusable(directory, error) from None
