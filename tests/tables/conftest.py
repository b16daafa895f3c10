"""Fixtures for tests of tables."""

from __future__ import annotations

import pytest

from litesam_bench.tables import published
from litesam_bench.tables.published import PublishedTable


@pytest.fixture(scope="session")
def printed() -> dict[str, PublishedTable]:
    """All published tables by name."""
    return published.by_ref(published.all_tables())
