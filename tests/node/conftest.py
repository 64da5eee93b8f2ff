"""One real network a worker, for the tests that only add to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.live import Live, started


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    """Started by the first test that asks, stopped with the session."""
    with started() as network:
        yield network
