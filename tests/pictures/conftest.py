"""Pictures as users see them."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def small_tiles():
    """Keep the usual sizes."""
