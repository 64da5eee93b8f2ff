"""Real nodes killed with SIGKILL at random moments of load: the others go on, it comes back, catches up, contradicts nothing.

The moments and victims follow a seed, the interleaving does not; `tests/sim` has the runs that replay.
`make soak` goes on.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comity.record.errors import ComityError
from comity.record.types import Wei
from comity.shell.dev import Network
from support.leaks import kept
from support.ports import free_base
from support.pressure import BANK, Pressure
from support.votes import cast, contradictions

pytestmark = [pytest.mark.net, pytest.mark.timeout(600)]

SOAK_MINUTES = float(os.environ.get("COMITY_TEST_SOAK_MINUTES", "0"))
KILLS = 4
SEED = int(os.environ.get("COMITY_TEST_SEED", "20261121"))
PROGRESS_S_MAX = 40.0
CATCH_UP_S_MAX = 60.0
ORPHANS_S_MAX = 5.0
STALL_S = 5.0


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Four validators with quarter-second blocks."""
    root = tmp_path_factory.mktemp("faults")
    with Network(root, port=free_base(4), block_period_ms=250, alloc={BANK.address: Wei(10**18)}) as running:
        yield running


def height(network: Network, name: str) -> int:
    """A node's height; -1 while it does not answer."""
    try:
        return network.client(name).status().ledger.height
    except ComityError:
        return -1


def until(what: str, reached: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition; fails with `what`."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} not within {seconds:.0f} s (seed {SEED})")
        time.sleep(0.1)


def names(network: Network) -> list[str]:
    """The organisations, in order."""
    return [organisation.name for organisation in network.organisations]


def processes(session: int) -> set[int]:
    """The living processes of a session: a node starts in one of its own, and so do not its children."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, sid, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(sid) == session and state not in "ZX":
            found.add(int(entry.name))
    return found


def kill(network: Network, name: str) -> None:
    """SIGKILL, and nothing of that node lives on."""
    session = network.pid(name)
    assert len(processes(session)) >= 3, "node, executor and signer are processes of their own"
    network.kill(name)
    until(f"{name}'s children dead with it", lambda: not processes(session), ORPHANS_S_MAX)


def start(network: Network, *which: str) -> None:
    """Start again; the processes are the fixture's."""
    with kept():
        network.start(*which)


def same_chain(network: Network) -> None:
    """No two nodes differ at a height, and no validator signed twice."""
    hashes: dict[int, set[str]] = {}
    for name in names(network):
        before: int | None = None
        while blocks := network.client(name).blocks(limit=200, before=before):
            for block in blocks:
                hashes.setdefault(block.height, set()).add(block.hash)
            before = blocks[-1].height
            if before == 0:
                break
    forks = {at: found for at, found in hashes.items() if len(found) > 1}
    assert not forks, f"seed {SEED}: {forks}"
    for name in names(network):
        votes = cast(network.home(name).votes)
        assert votes, f"{name} never voted"
        assert not contradictions(votes), f"seed {SEED}: {name}"


def together(network: Network) -> None:
    """Wait until every node is at the height that the highest has now, or beyond."""
    goal = max(height(network, name) for name in names(network))
    until("all at one height", lambda: all(height(network, name) >= goal for name in names(network)), CATCH_UP_S_MAX)


def one_kill(network: Network, chance: random.Random) -> None:
    """Kill one at a random moment; the others go on; it returns and catches up."""
    victim = chance.choice(names(network))
    time.sleep(chance.uniform(0, 1.5))
    kill(network, victim)
    others = [name for name in names(network) if name != victim]
    goal = max(height(network, name) for name in others) + 3
    until(f"progress without {victim}", lambda: all(height(network, name) >= goal for name in others), PROGRESS_S_MAX)
    start(network, victim)
    together(network)


def test_one_killed_at_any_moment(network: Network) -> None:
    chance = random.Random(SEED)
    deadline = time.monotonic() + SOAK_MINUTES * 60
    with Pressure(network) as pressure:
        for _ in range(KILLS):
            one_kill(network, chance)
        while time.monotonic() < deadline:
            one_kill(network, chance)
        together(network)
    assert pressure.sent > KILLS
    same_chain(network)


def test_two_killed_stop_the_ledger_and_one_brings_it_back(network: Network) -> None:
    first, second, *living = random.Random(SEED + 1).sample(names(network), 4)
    with Pressure(network):
        kill(network, first)
        kill(network, second)
        time.sleep(1)  # what was sealed at that moment may still arrive
        before = {name: height(network, name) for name in living}
        time.sleep(STALL_S)
        assert {name: height(network, name) for name in living} == before, "two of four are no quorum"
        start(network, first)
        goal = max(before.values()) + 2
        until(
            "progress with three",
            lambda: all(height(network, name) >= goal for name in (first, *living)),
            PROGRESS_S_MAX,
        )
        start(network, second)
        together(network)
    same_chain(network)


def test_all_killed_at_once_come_back(network: Network) -> None:
    with Pressure(network):
        time.sleep(1)
        before = max(height(network, name) for name in names(network))
        for name in names(network):
            kill(network, name)
        start(network, *names(network))
    with Pressure(network):
        until(
            "progress after all were dead",
            lambda: min(height(network, name) for name in names(network)) > before,
            PROGRESS_S_MAX,
        )
    together(network)
    same_chain(network)
