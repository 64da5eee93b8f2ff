"""Compile the system contracts and write their artefacts, bit for bit the same on every machine.

    npm ci --prefix contracts && python scripts/build_contracts.py [--check]

The compiler is npm's `solc` (soljson.js), run in the V8 of the pip-installed mini-racer: no node is needed to run it.
`--check` writes nothing and fails when an artefact differs from its source.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMPILER = ROOT / "contracts" / "node_modules" / "solc" / "soljson.js"
PACKAGE = ROOT / "src" / "comity" / "ledger" / "contracts"
NAMES = ("Members", "Records", "Grants", "Governance", "Studies", "Services")
SETTINGS: dict[str, Any] = {
    "evmVersion": "cancun",  # solc's default is newer than our executor
    "optimizer": {"enabled": True, "runs": 200},
    "viaIR": True,  # the long parameter lists do not fit the stack otherwise
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},  # nothing of the machine in the code
    "outputSelection": {"*": {"*": ["abi", "evm.deployedBytecode.object"]}},
}
LOAD_S_MAX = 60.0


class Compiler:
    """soljson.js inside V8. Loading takes about a second, compiling a few."""

    def __init__(self, soljson: Path) -> None:
        from py_mini_racer import MiniRacer

        self._js = MiniRacer()
        # Emscripten asks what world it is in; it must see neither a browser nor node.
        self._js.eval("var window=undefined, self=globalThis; globalThis.console={log(){},warn(){},error(){}};")
        self._js.eval(soljson.read_text())
        deadline = time.monotonic() + LOAD_S_MAX
        while not self._js.eval("typeof Module.cwrap==='function' && typeof Module._solidity_version==='function'"):
            if time.monotonic() > deadline:
                raise SystemExit("the compiler did not start")
            time.sleep(0.05)

    @property
    def version(self) -> str:
        return str(self._js.eval("Module.cwrap('solidity_version','string',[])()"))

    def compile(self, standard_input: dict[str, Any]) -> dict[str, Any]:
        """Solidity's standard JSON in, standard JSON out."""
        self._js.eval("globalThis.INPUT=" + json.dumps(json.dumps(standard_input)))
        output = self._js.eval("Module.cwrap('solidity_compile','string',['string','number','number'])(INPUT,0,0)")
        result: dict[str, Any] = json.loads(str(output))
        return result


def build(soljson: Path = COMPILER, sources: Path = PACKAGE / "solidity") -> dict[str, bytes]:
    """Artefact file name -> its bytes. Any warning of the compiler is an error."""
    texts = {path.name: {"content": path.read_text()} for path in sorted(sources.glob("*.sol"))}
    compiler = Compiler(soljson)
    output = compiler.compile({"language": "Solidity", "sources": texts, "settings": SETTINGS})
    complaints = [e["formattedMessage"] for e in output.get("errors", ())]
    if complaints:
        raise SystemExit("\n".join(complaints))
    artefacts = {}
    for name in NAMES:
        contract = output["contracts"][f"{name}.sol"][name]
        artefact = {
            "name": name,
            "compiler": compiler.version,
            "abi": contract["abi"],
            "code": "0x" + contract["evm"]["deployedBytecode"]["object"],
        }
        artefacts[f"{name}.json"] = (json.dumps(artefact, indent=1, sort_keys=True) + "\n").encode()
    return artefacts


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the system contracts.")
    parser.add_argument("--check", action="store_true", help="compare with the artefacts in the tree and write nothing")
    check: bool = parser.parse_args().check
    if not COMPILER.exists():
        print("error: the compiler is not installed\nhint: npm ci --prefix contracts", file=sys.stderr)  # noqa: T201
        return 1
    differ = []
    for name, content in build().items():
        target = PACKAGE / "artefacts" / name
        same = target.exists() and target.read_bytes() == content
        if not same and not check:
            target.write_bytes(content)
        differ += [] if same else [name]
        print(f"{'same   ' if same else 'differs' if check else 'written'} {name} {len(content)} bytes")  # noqa: T201
    return 1 if check and differ else 0


if __name__ == "__main__":
    sys.exit(main())
