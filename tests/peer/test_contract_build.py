"""The artefacts in the tree are what the Solidity beside them compiles to, byte for byte, in a compiler fetched from npm."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_S_MAX = 240
pytestmark = [pytest.mark.peer, pytest.mark.timeout(BUILD_S_MAX)]


def test_rebuild_is_bit_for_bit(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm, which fetches the compiler, is not here")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(ROOT / "contracts" / name, tmp_path / name)
    subprocess.run(["npm", "ci"], cwd=tmp_path, check=True, capture_output=True, timeout=BUILD_S_MAX)
    spec = importlib.util.spec_from_file_location("build_contracts", ROOT / "scripts" / "build_contracts.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    built = script.build(tmp_path / "node_modules" / "solc" / "soljson.js")
    kept = {path.name: path.read_bytes() for path in (script.PACKAGE / "artefacts").glob("*.json")}
    assert built.keys() == kept.keys()
    assert [name for name in built if built[name] != kept[name]] == []


def test_the_lock_names_no_registry() -> None:
    assert "://" not in "".join(
        line for line in (ROOT / "contracts" / "package-lock.json").read_text().splitlines() if '"url"' not in line
    )
