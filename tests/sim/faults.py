"""What goes wrong in one run, drawn from its seed: wires, power, partitions, and perhaps one Byzantine validator."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.network import Network

CHAOS_MS = 9_000
HABITS = (
    "equivocate",
    "withhold",
    "deny",
    "forge",
    "replay",
    "invalid",
    "vote-all",
    "rush",
    "boast",
    "tamper",
    "whisper",
)


@dataclass(frozen=True)
class Faults:
    """One seed's misfortunes."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay_ms: float = 5.0
    power_cut: float = 0.0
    """Probability that a write asked of a node is followed by a power cut."""
    crashes: int = 0
    partitions: int = 0
    byzantine: int | None = None
    habits: tuple[str, ...] = ()
    transactions: int = 12

    @classmethod
    def draw(cls, rng: random.Random) -> Faults:
        byzantine = rng.randrange(4) if rng.random() < 0.6 else None
        habits = tuple(sorted(rng.sample(HABITS, rng.randint(1, 4)))) if byzantine is not None else ()
        return cls(
            loss=rng.choice((0.0, 0.0, 0.02, 0.1, 0.25)),
            duplicate=rng.choice((0.0, 0.05, 0.3)),
            delay_ms=rng.choice((3.0, 20.0, 80.0, 250.0)),
            power_cut=rng.choice((0.0, 0.0, 0.01, 0.04)),
            crashes=rng.choice((0, 1, 3, 6)),
            partitions=rng.choice((0, 0, 1, 3)),
            byzantine=byzantine,
            habits=habits,
            transactions=rng.choice((3, 8, 16)),
        )

    def arrange(self, network: Network) -> None:
        """Put all of it on the network's clock."""
        rng, nodes = network.rng, list(network.nodes.values())
        for node in nodes:
            network.at(rng.randint(0, 300), network.start, node)
        for _ in range(self.crashes):
            network.at(rng.randint(500, CHAOS_MS), network.crash, rng.choice(network.honest))
        for _ in range(self.partitions):
            begin = rng.randint(500, CHAOS_MS - 1_000)
            sides = {node.name: rng.randint(0, 1) for node in nodes}
            network.at(begin, network.partition, sides)
            network.at(begin + rng.randint(300, 4_000), network.partition, {})
        for transaction in network.world.transactions(self.transactions):
            network.at(rng.randint(0, CHAOS_MS), network.laws.pend, network, transaction)
        network.at(CHAOS_MS, network.heal)
