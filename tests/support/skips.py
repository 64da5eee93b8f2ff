"""Under CI a test that did not run is a failure, unless the reason stands in `ALLOWED`.

Not used on a developer's machine: there a skip is a skip. Reports of all workers meet in the controlling process.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from support.places import SHARED

ALLOWED: tuple[tuple[str, str], ...] = (
    # (test id pattern, reason pattern): what a CI machine truly lacks. Keep it short.
    (r".*", r"needs an accelerator"),
    (r".*", r"only on (macOS|Windows)"),
)
NEEDS_SHARED = {"data", "peer"}

_skipped: dict[str, tuple[str, frozenset[str]]] = {}


def under_ci() -> bool:
    """Whether a skip must be explained."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def unexplained(skipped: dict[str, tuple[str, frozenset[str]]], *, shared: bool) -> dict[str, str]:
    """What nothing allows: test id → reason. Without `shared`, tests of data and of peers may skip."""
    return {
        name: reason
        for name, (reason, keywords) in skipped.items()
        if (shared or not keywords & NEEDS_SHARED)
        and not any(re.match(test, name) and re.search(why, reason) for test, why in ALLOWED)
    }


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped[report.nodeid] = (reason, frozenset(getattr(report, "keywords", ())))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test skipped."""
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A whole module skipped."""
    _note(report)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker ended: take over the modules that it skipped, which it reports to nobody."""
    for name, (reason, keywords) in getattr(node, "workeroutput", {}).get("skipped", {}).items():
        _skipped[name] = (reason, frozenset(keywords))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand on (worker) or judge (controller)."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["skipped"] = {name: (reason, sorted(keywords)) for name, (reason, keywords) in _skipped.items()}
    elif under_ci() and unexplained(_skipped, shared=SHARED.is_dir()) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which skips failed the run."""
    if under_ci() and (bad := unexplained(_skipped, shared=SHARED.is_dir())):
        terminalreporter.section("skipped without leave", red=True)
        for name, reason in sorted(bad.items()):
            terminalreporter.line(f"{name}: {reason}")
