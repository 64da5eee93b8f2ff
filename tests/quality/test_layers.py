"""Arrows point down: the contracts of pyproject.toml hold, and nothing in them is a dead letter.

`make layers` prints the same in words.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.places import ROOT

PURE = ("record", "store", "ledger", "data", "learn")
ASKS_THE_WORLD = {
    ("os", "urandom"),
    ("os", "getrandom"),
    ("os", "fork"),
    ("os", "system"),
    ("os", "popen"),
    ("os", "times"),
}
WORKERS = {"learn/worker.py"}


def test_contracts_are_kept() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def test_every_package_has_a_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layered = {name.strip() for layer in contracts[0]["layers"] for name in layer.split("|")}
    packages = {f"comity.{path.parent.name}" for path in (ROOT / "src/comity").glob("*/__init__.py")}
    assert packages == layered


def asks_the_world(source: str) -> list[str]:
    """Calls of the operating system that a pure module must be handed instead, which an import rule cannot see."""
    found = []
    tree = ast.parse(source)
    # `entropy=os.urandom` as a default is a handing in: whoever wants another says so.
    defaults = {
        d
        for node in ast.walk(tree)
        if isinstance(node, ast.arguments)
        for d in (*node.defaults, *node.kw_defaults)
        if d
    }
    for node in ast.walk(tree):
        if node in defaults:
            continue
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in ASKS_THE_WORLD
        ):
            found.append(f"line {node.lineno}: {node.value.id}.{node.attr}")
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("__import__", "input", "breakpoint")
        ):
            found.append(f"line {node.lineno}: {node.func.id}()")
        if isinstance(node, ast.Attribute) and node.attr == "import_module":
            found.append(f"line {node.lineno}: import_module")
    return found


@pytest.mark.parametrize("package", PURE)
def test_nothing_below_the_node_asks_the_world(package: str) -> None:
    folder = ROOT / "src/comity" / package
    found = {
        str(path.relative_to(folder)): asked
        for path in sorted(folder.rglob("*.py"))
        if str(path.relative_to(folder.parent)) not in WORKERS and (asked := asks_the_world(path.read_text()))
    }
    assert not found, found


def test_the_check_can_fail() -> None:
    assert asks_the_world("import os\nx = os.urandom(32)") == ["line 2: os.urandom"]
    assert not asks_the_world("import os\ndef f(*, entropy=os.urandom): ...")
    assert asks_the_world("__import__('time')")
    assert not asks_the_world("import os\nos.fsync(fd)")


@pytest.mark.parametrize("package", ["record", "ledger"])
def test_no_floats_in_what_is_agreed(package: str) -> None:
    """No float literal and no `float(` in the kernel's agreed bytes: two machines must never round differently."""
    allowed = {"record/canonical.py"}  # decodes them for `floats=True`, which nothing agreed uses
    found = []
    for path in sorted((ROOT / "src/comity" / package).rglob("*.py")):
        name = str(path.relative_to(ROOT / "src/comity"))
        if name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, float):
                found.append(f"{name}:{node.lineno}: {node.value}")
    assert not found, found
