"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from policies.egress.switches import set_switches

set_switches()

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of public data sets, where the machine has one; skips where it has not."""
    folder = Path(os.environ.get("INHOUSE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("needs the public test data: set INHOUSE_TEST_DATA to its folder")
    return folder
