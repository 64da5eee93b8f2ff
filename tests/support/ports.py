"""Ports that nobody has, for tests that start real nodes."""

from __future__ import annotations

import os
import random
import socket

STEP = 10
FIRST, LAST = 20_000, 32_000
"""Below the range from which systems give out ports of their own accord (32768 on Linux)."""


def free_base(nodes: int) -> int:
    """A base port at which `nodes` nodes find their pair free: base + 10·i and one above. Workers of xdist do not collide."""
    chance = random.Random(os.getpid() ^ random.SystemRandom().getrandbits(32))
    for _ in range(200):
        base = chance.randrange(FIRST, LAST, 100)
        if all(_is_free(base + STEP * i + j) for i in range(nodes) for j in (0, 1)):
            return base
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
