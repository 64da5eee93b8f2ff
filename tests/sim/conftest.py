"""`--seed N` plays one seed alone: `python -m pytest tests/sim --seed 7`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="play this seed of the network simulation alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        one = metafunc.config.getoption("--seed", default=None)
        chunks = [range(first, first + 10) for first in range(0, 300, 10)] if one is None else [range(one, one + 1)]
        metafunc.parametrize("seeds", chunks, ids=[f"{c.start}..{c.stop - 1}" for c in chunks])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--seed", default=None) is not None:
        items[:] = [item for item in items if "test_every_law_holds" in item.name]
