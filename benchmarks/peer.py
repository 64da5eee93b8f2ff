"""Anvil, from npm, as the yardstick: the same load on the same machine in the same run.

It is one process without consensus, peers, signatures of blocks or a disk, so it bounds from above what a node could do here.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load import Target
from benchmarks.rpc import Rpc, RpcError

FOLDER = Path(__file__).parent / "peers"
BINARY = FOLDER / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
START_S_MAX = 20.0


def binary() -> Path:
    """Anvil's executable; fetched once, at the version and integrity of peers/package-lock.json."""
    if not BINARY.exists():
        if shutil.which("npm") is None:
            raise RpcError("anvil comes from npm, and this machine has no npm")
        command = ["npm", "ci", "--silent", "--ignore-scripts", "--no-fund", "--no-audit", "--prefix", str(FOLDER)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    return BINARY


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def anvil(block_time_s: int) -> Iterator[Target]:
    """Anvil with blocks each `block_time_s` seconds at a gas price of zero; its limits do not bind."""
    port = free_port()
    command = [
        str(binary()), "--port", str(port), "--block-time", str(block_time_s), "--base-fee", "0", "--gas-price", "0",
        "--gas-limit", "1000000000", "--silent", "--chain-id", "31337", "--hardfork", "cancun",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=sys.stderr)
    target = Target(f"anvil 1.7.1, {block_time_s} s blocks", f"http://127.0.0.1:{port}")
    try:
        _await(target)
        yield target
    finally:
        process.terminate()
        process.wait(10)


def _await(target: Target) -> None:
    deadline = time.monotonic() + START_S_MAX
    while True:
        try:
            with Rpc(target.url) as rpc:
                rpc.call("eth_chainId")
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
