"""Compiles the benchmark's token with the compiler that builds the system contracts, and writes benchmarks/contracts/Token.json.

npm ci --prefix contracts && python scripts/build_token.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from build_contracts import COMPILER, SETTINGS, Compiler

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "contracts"


def main() -> None:
    """Unlike the system contracts, which stand in the genesis, the token is deployed: its creation code is kept."""
    compiler = Compiler(COMPILER)
    settings = SETTINGS | {"outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}}}
    sources = {"Token.sol": {"content": (FOLDER / "Token.sol").read_text()}}
    output = compiler.compile({"language": "Solidity", "sources": sources, "settings": settings})
    if output.get("errors"):
        raise SystemExit("\n".join(error["formattedMessage"] for error in output["errors"]))
    contract = output["contracts"]["Token.sol"]["Token"]
    artefact = {
        "abi": contract["abi"],
        "bytecode": "0x" + contract["evm"]["bytecode"]["object"],
        "compiler": compiler.version,
        "name": "Token",
    }
    (FOLDER / "Token.json").write_text(json.dumps(artefact, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"written Token.json, {len(artefact['bytecode']) // 2 - 1} bytes of code\n")


if __name__ == "__main__":
    main()
