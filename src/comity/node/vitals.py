"""What the doctor asks of a running node: each answer is read off its parts at the moment of asking."""

from __future__ import annotations

import time
from collections.abc import Callable

from comity.node.children import Children
from comity.node.doctor import Check, Vitals, standard_checks
from comity.node.home import Home
from comity.node.node import Node, quorum, validators_at
from comity.node.room import Sandboxes


def vitals_of(
    node: Node, children: Children, sandboxes: Sandboxes, home: Home, disagreements: Callable[[], list[str]]
) -> tuple[Check, ...]:
    """The standard checks of this node."""

    def validators() -> tuple[int, int, int]:
        names = set(validators_at(node.view, node.view.height + 1).values())
        present = names & {node.org, *node.peers.connected}
        return len(present), quorum(len(names)), len(names)

    def failures() -> list[str]:
        return disagreements() + [
            f"{key}: {failure.because}" for key, failure in node.reconciler.failures.items() if failure.attempts > 2
        ]

    return standard_checks(
        Vitals(
            halted=lambda: node.runtime.replica.halted or "",
            children=lambda: children.alive(),
            peers=lambda: (len(node.peers.connected), sum(name != node.org for name in node.view.members)),
            validators=validators,
            head_age_s=lambda: max(0.0, time.time() - node.view.time),
            empty_period_s=node.genesis.empty_period_ms / 1000,
            pending=lambda: len(node.runtime.replica.pool),
            failures=failures,
            isolation=sandboxes.finding,
            receipts=lambda: (not node.serving.trouble, node.serving.trouble or "durable"),
            folder=home.root,
        )
    )
