"""What every test stands on: an isolated home, a fixed environment, deterministic Hypothesis, checks for leaks.

The plugins are in `tests/support`. Knobs of tests begin with `COMITY_TEST_`; every other `COMITY_*` is cleared.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.places import SHARED

pytest_plugins = ("support.leaks", "support.skips", "support.suites")

for _name in [name for name in os.environ if name.startswith("COMITY_") and not name.startswith("COMITY_TEST_")]:
    del os.environ[_name]
for _name in ("FORCE_COLOR", "CLICOLOR_FORCE", "PYTHONASYNCIODEBUG"):
    os.environ.pop(_name, None)
os.environ.update(
    NO_COLOR="1",
    TZ="UTC",
    NO_PROXY="127.0.0.1,localhost,::1",
    no_proxy="127.0.0.1,localhost,::1",
    # One thread each: two workers share two cores, and sums stay in one order.
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
)
time.tzset()

# `fixed`: the same examples every run, no clock in the verdict. COMITY_TEST_HYPOTHESIS=deep searches on.
_CALM = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile(
    "fixed", derandomize=True, deadline=None, database=None, print_blob=True, suppress_health_check=_CALM
)
settings.register_profile(
    "deep", deadline=None, max_examples=5_000, database=None, print_blob=True, suppress_health_check=_CALM
)
settings.load_profile(os.environ.get("COMITY_TEST_HYPOTHESIS", "fixed"))

_HOMES = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """One folder for the homes of this process's tests, with a short path: Unix sockets allow 107 bytes."""
    config.stash[_HOMES] = Path(tempfile.mkdtemp(prefix="comity-"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take it away."""
    shutil.rmtree(config.stash[_HOMES], ignore_errors=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Point COMITY_HOME, and the folders that XDG names, at a place of this test's own, made only if it is used."""
    home = item.config.stash[_HOMES] / "home"
    os.environ["COMITY_HOME"] = str(home)
    os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_DATA_HOME"] = os.environ["XDG_STATE_HOME"] = str(home / "xdg")
    result = yield
    if home.exists():
        shutil.rmtree(home, ignore_errors=True)
    return result


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public test data beside the checkout; the test skips where a clone has none (never in CI)."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside this checkout")
    return SHARED
