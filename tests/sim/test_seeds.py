"""Three hundred networks with real blocks, signatures and vote logs; and each is the same network again from its seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.evm_world import EvmWorld
from sim.faults import HABITS, Faults
from sim.laws import PEACE_MS
from sim.network import Network

pytestmark = pytest.mark.sim

SAMPLE = (3, 17, 29)


@pytest.fixture(scope="module")
def world() -> EvmWorld:
    return EvmWorld()


def test_every_law_holds(seeds: range, world: EvmWorld) -> None:
    for seed in seeds:
        network = Network(seed, world)
        network.run()
        assert len({network.laws.blocks[h] for h in network.laws.blocks}) >= 2
        assert network.now < PEACE_MS


def test_a_quiet_network_makes_blocks_at_its_pace(world: EvmWorld) -> None:
    """Without faults: no round is changed, nobody is dropped, and transactions are in within two periods."""
    lines: list[str] = []
    Network(1, world, faults=Faults(transactions=12), say=lines.append).run()
    assert not [line for line in lines if "ROUND_CHANGE" in line or "DROP" in line or "REFUSED" in line]
    commits = [line for line in lines if "n0 Committed" in line]
    assert len(commits) >= 8


def test_seeds_differ_in_everything_that_can_go_wrong(world: EvmWorld) -> None:
    drawn = [Network(seed, world).faults for seed in range(300)]
    assert {f.byzantine for f in drawn} == {None, 0, 1, 2, 3}
    assert any(f.loss for f in drawn)
    assert any(f.power_cut for f in drawn)
    assert any(f.crashes for f in drawn)
    assert any(f.partitions for f in drawn)
    assert len({habit for f in drawn for habit in f.habits}) == len(HABITS)


@pytest.mark.parametrize("seed", SAMPLE)
def test_a_seed_replays_to_the_same_trace(seed: int, world: EvmWorld) -> None:
    assert Network(seed, world).run() == Network(seed, EvmWorld()).run()


def test_a_seed_replays_in_another_process(world: EvmWorld) -> None:
    """Also where Python's hashes of strings, and hence the order of sets, are others."""
    script = str(Path(__file__).with_name("run.py"))
    command = [sys.executable, script, "--seed", "17"]
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert Network(17, world).run() in done.stdout
