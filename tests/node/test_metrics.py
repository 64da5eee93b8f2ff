"""The metrics of one node: its own registry, every name documented by its help text."""

from __future__ import annotations

from dataclasses import dataclass, field

from comity.ledger.types import Block, SealedBlock, Seals
from comity.node.connection import Traffic
from comity.node.metrics import Metrics
from support.plain_chain import genesis_block


@dataclass
class Parts:
    """Runtime and peers, as far as metrics read them."""

    height: int = 7
    waiting: int = 3
    rounds: int = 1
    connected: list[str] = field(default_factory=lambda: ["riverside"])
    refused: int = 2
    traffic: Traffic = field(default_factory=Traffic)


def test_everything_is_rendered() -> None:
    now = [100.0]
    metrics, parts = Metrics(lambda: now[0]), Parts()
    parts.traffic.add("out", "prepare", 100)
    parts.traffic.add("out", "prepare", 20)
    metrics.read_from(parts, parts)  # type: ignore[arg-type]
    sealed = genesis_block()
    two = SealedBlock(Block(sealed.block.header, (b"a", b"b")), Seals(0, ()))
    metrics.committed(two, ())
    now[0] += 3
    metrics.committed(two, ())
    metrics.rpc_called("eth_call")
    metrics.predicted("triage")
    metrics.restarted("executor")
    lines = metrics.render().decode().splitlines()
    for wanted in (
        "comity_height 7.0",
        "comity_mempool_transactions 3.0",
        "comity_round_changes_total 1.0",
        "comity_peers 1.0",
        "comity_peers_refused_total 2.0",
        'comity_peer_bytes_total{direction="out",kind="prepare"} 120.0',
        'comity_peer_messages_total{direction="out",kind="prepare"} 2.0',
        "comity_transactions_total 4.0",
        'comity_block_seconds_bucket{le="2.0"} 0.0',
        'comity_block_seconds_bucket{le="4.0"} 1.0',
        'comity_rpc_calls_total{method="eth_call"} 1.0',
        'comity_predictions_total{service="triage"} 1.0',
        'comity_child_restarts_total{child="executor"} 1.0',
    ):
        assert wanted in lines
    helped = {line.split()[2] for line in lines if line.startswith("# HELP")}
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == helped


def test_two_nodes_do_not_share() -> None:
    one, other = Metrics(), Metrics()
    one.rpc_called("eth_call")
    assert b"eth_call" in one.render()
    assert b"eth_call" not in other.render()
