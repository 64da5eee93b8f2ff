"""What a node measures, for Prometheus: a registry of its own, so that several nodes in one process do not mix.

Counters are raised where things happen; gauges are read from the parts when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from comity.ledger.types import Receipt, SealedBlock
from comity.node.peers import Peers

BLOCK_SECONDS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)


class Ledger(Protocol):
    """What is read of `runtime.Runtime`."""

    @property
    def height(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def rounds(self) -> int: ...


class Metrics:
    """One node's registry. All names begin with `comity_`."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        """`clock`: unix seconds, for the time between commits; without it that is not measured."""
        self._registry = CollectorRegistry()
        self._clock = clock
        self._last = 0.0
        self._blocks = Histogram(
            "comity_block_seconds",
            "Time between two commits of this node.",
            buckets=BLOCK_SECONDS,
            registry=self._registry,
        )
        self._transactions = Counter(
            "comity_transactions", "Transactions in committed blocks.", registry=self._registry
        )
        self._rpc = Counter("comity_rpc_calls", "JSON-RPC calls, by method.", ["method"], registry=self._registry)
        self._predictions = Counter(
            "comity_predictions", "Predictions answered, by service.", ["service"], registry=self._registry
        )
        self._restarts = Counter(
            "comity_child_restarts", "Restarts of our own processes.", ["child"], registry=self._registry
        )

    def committed(self, sealed: SealedBlock, _: Iterable[Receipt]) -> None:
        """Told of each block; give it to `Runtime.on_commit`."""
        self._transactions.inc(len(sealed.block.transactions))
        if self._clock is not None:
            now = self._clock()
            if self._last:
                self._blocks.observe(max(0.0, now - self._last))
            self._last = now

    def rpc_called(self, method: str) -> None:
        """Give it to `Rpc` as `on_call`."""
        self._rpc.labels(method).inc()

    def predicted(self, service: str) -> None:
        self._predictions.labels(service).inc()

    def restarted(self, child: str) -> None:
        """Give it to `Children` as `on_restart`."""
        self._restarts.labels(child).inc()

    def read_from(self, ledger: Ledger, peers: Peers) -> None:
        """Read these whenever the metrics are rendered."""
        self._registry.register(_Parts(ledger, peers))

    def render(self) -> bytes:
        """The Prometheus text format, version 0.0.4."""
        return generate_latest(self._registry)


class _Parts(Collector):
    def __init__(self, ledger: Ledger, peers: Peers) -> None:
        self._ledger, self._peers = ledger, peers

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("comity_height", "Height of the last committed block.", value=self._ledger.height)
        yield GaugeMetricFamily(
            "comity_mempool_transactions", "Transactions that wait for a block.", value=self._ledger.waiting
        )
        yield CounterMetricFamily(
            "comity_round_changes", "Consensus rounds that timed out here.", value=self._ledger.rounds
        )
        yield GaugeMetricFamily("comity_peers", "Members connected.", value=len(self._peers.connected))
        yield CounterMetricFamily(
            "comity_peers_refused", "Inbound connections that proved nobody.", value=self._peers.refused
        )
        sizes = CounterMetricFamily(
            "comity_peer_bytes", "Bytes to and from members, by kind.", labels=["direction", "kind"]
        )
        counts = CounterMetricFamily("comity_peer_messages", "Messages, by kind.", labels=["direction", "kind"])
        for labels, size in sorted(self._peers.traffic.bytes.items()):
            sizes.add_metric(labels, size)
            counts.add_metric(labels, self._peers.traffic.messages[labels])
        yield sizes
        yield counts
