"""One real network a worker, and the whole story told to it once, for the tests that only add to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.live import Live, started
from support.story import Story, tell


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    """Started by the first test that asks, stopped with the session."""
    with started() as network:
        yield network


@pytest.fixture(scope="session")
def story(live: Live) -> Story:
    """What came of it."""
    return tell(live)
