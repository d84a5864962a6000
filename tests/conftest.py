"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from policies.egress.switches import set_switches

set_switches()

# The gate must not hang on luck: the examples are the same each time. `--hypothesis-profile=default` looks for new ones.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.load_profile("gate")

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
