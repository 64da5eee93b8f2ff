"""Four real nodes: processes, sockets, signers, executors. Killed with SIGKILL, they lose nothing and contradict nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comity.ledger import transaction
from comity.record.digest import keccak256
from comity.record.types import Address
from support.one_node import CHAIN_ID, RICH, Node, found, wait_until

pytestmark = pytest.mark.net
NAMES = ("northfield", "riverside", "lakeside", "office")


def transfer(nonce: int, value: int = 1) -> str:
    payload = transaction.signing_payload(
        chain_id=CHAIN_ID, nonce=nonce, to=Address(bytes(19) + b"\x77"), gas=21_000, value=value
    )
    return "0x" + transaction.assemble(payload, RICH.sign(keccak256(payload))).hex()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[list[Node]]:
    nodes = [Node(place) for place in found(tmp_path, NAMES)]
    for node in nodes:
        node.start()
    try:
        wait_until(lambda: all(node.height() >= 0 for node in nodes))
        yield nodes
    finally:
        codes = [node.stop() for node in nodes]
        logs = "\n".join(f"── {node.place.root.name}\n{node.log()[-2000:]}" for node in nodes)
        print(codes, logs)


def send(node: Node, first: int, count: int) -> list[str]:
    return [node.call("eth_sendRawTransaction", transfer(nonce)) for nonce in range(first, first + count)]


def committed(node: Node, hashes: list[str]) -> bool:
    return all(node.call("eth_getTransactionReceipt", hash32) for hash32 in hashes)


def same_chain(nodes: list[Node]) -> None:
    """No fork: at each height that all have, one hash."""
    top = min(node.height() for node in nodes)
    for height in range(top + 1):
        hashes = {node.call("eth_getBlockByNumber", hex(height), False)["hash"] for node in nodes}
        assert len(hashes) == 1, height


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_four_nodes_survive_sigkill(network: list[Node]) -> None:
    one, two, three, four = network
    first = send(one, 0, 5)
    wait_until(lambda: all(committed(node, first) for node in network))
    same_chain(network)

    # One of four is killed: the others go on, and its signer and executor die with it.
    orphans = four.kill()
    wait_until(lambda: not any(map(alive, orphans)), 2)
    second = send(two, 5, 5)
    wait_until(lambda: all(committed(node, second) for node in (one, two, three)))
    same_chain([one, two, three])

    # It returns and catches up.
    four.start()
    wait_until(lambda: four.height() >= 0 and committed(four, second))
    same_chain(network)

    # Two of four are killed: no progress and no fork.
    three.kill()
    four.kill()
    height = max(one.height(), two.height())
    third = send(one, 10, 3)
    time.sleep(1.5)
    assert max(one.height(), two.height()) <= height + 1  # one block may have been under way
    stuck = max(one.height(), two.height())
    time.sleep(0.5)
    assert max(one.height(), two.height()) == stuck
    same_chain([one, two])

    # One returns: progress, with what had been waiting.
    three.start()
    wait_until(lambda: three.height() >= 0 and all(committed(node, third) for node in (one, two, three)), 25)
    same_chain([one, two, three])


def test_one_node_through_the_deaths_of_its_processes(tmp_path: Path) -> None:
    """The executor and the signer are killed between transactions; they are restarted and the ledger goes on."""
    node = Node(found(tmp_path, ["northfield"])[0])
    node.start()
    try:
        wait_until(lambda: node.height() >= 0)
        for nonce in range(3):
            (hash32,) = send(node, nonce, 1)
            wait_until(lambda hash32=hash32: committed(node, [hash32]))
            signer, executor = (int(pid) for pid in (node.place.root / "children").read_text().split())
            victim = (executor, signer)[nonce % 2]
            if nonce < 2:
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda victim=victim: not alive(victim))
                wait_until(lambda nonce=nonce: _sendable(node, nonce + 1))
        metrics = node._http.get(node.url + "metrics").text
        assert 'comity_child_restarts_total{child="executor"} 1.0' in metrics
        assert 'comity_child_restarts_total{child="signer"} 1.0' in metrics
        assert "comity_height " in metrics
        assert 'comity_rpc_calls_total{method="eth_sendRawTransaction"}' in metrics
    finally:
        assert node.stop() == 0, node.log()


def _sendable(node: Node, nonce: int) -> bool:
    """The executor answers again."""
    try:
        return int(node.call("eth_getTransactionCount", "0x" + RICH.address.hex(), "latest"), 16) == nonce
    except AssertionError:
        return False
