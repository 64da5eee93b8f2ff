"""Prints, after the tests, how long each folder of tests took: seconds of test time, summed over workers."""

from __future__ import annotations

from collections import defaultdict

import pytest

_seconds: dict[str, float] = defaultdict(float)
_tests: dict[str, set[str]] = defaultdict(set)


def suite_of(nodeid: str) -> str:
    """`tests/ledger/test_rlp.py::test_x` → `ledger`."""
    parts = nodeid.partition("::")[0].split("/")
    return parts[1] if len(parts) > 2 else parts[0]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add one phase of one test."""
    suite = suite_of(report.nodeid)
    _seconds[suite] += report.duration
    _tests[suite].add(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, slowest first."""
    if len(_seconds) < 2 or (config.getoption("verbose") < 0 and not config.getoption("numprocesses", None)):
        return
    terminalreporter.section("seconds by suite")
    for suite, seconds in sorted(_seconds.items(), key=lambda pair: -pair[1]):
        terminalreporter.line(f"{suite:<16}{len(_tests[suite]):>6} tests{seconds:>9.1f} s")
