"""A study whose nodes are killed one after another while it trains: it ends, attested, and no vote contradicts another."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import numpy as np
import pytest

import comity.shell.demo as demo
from comity.record.errors import ComityError
from comity.shell.dev import Network
from comity.shell.results import Study
from support.leaks import kept
from support.ports import free_base
from support.votes import cast, contradictions

pytestmark = [pytest.mark.net, pytest.mark.timeout(300)]

SEED = 20261121
ROUNDS = 12
HOSPITALS = ("northfield", "riverside", "lakeside")
STUDY_S_MAX = 150.0


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Four validators, three of them hospitals with a table each."""
    with Network(tmp_path_factory.mktemp("training"), port=free_base(4), block_period_ms=200) as running:
        for index, name in enumerate(HOSPITALS):
            running.client(name).add_dataset(
                table(index), name="cells", purposes=["diagnosis"], licence="CC0-1.0", consent="broad"
            )
        yield running


def table(seed: int) -> bytes:
    """Sixty rows that one hospital holds: two features, and a label that they decide."""
    features = np.random.default_rng(seed).normal(size=(60, 2))
    rows = [f"{a:.6f},{b:.6f},{int(a + b > 0)}" for a, b in features]
    return ("a,b,label\n" + "\n".join(rows)).encode()


def test_every_node_is_killed_once_while_it_trains(network: Network) -> None:
    chance = random.Random(SEED)
    study = propose(network)
    for victim in chance.sample(["northfield", "riverside", "lakeside", "health-office"], 4):
        seen = rounds(network, study, victim)
        time.sleep(chance.uniform(0, 0.8))
        network.kill(victim)
        time.sleep(chance.uniform(0, 1.0))
        with kept():
            network.start(victim)
        assert rounds(network, study, victim) >= seen

    done = concluded(network, study)
    assert [entry.index for entry in done.rounds] == list(range(1, ROUNDS + 1))
    assert all(sorted(entry.took_part) == sorted(HOSPITALS) for entry in done.rounds)
    assert all(len(entry.attested) >= 3 for entry in done.rounds)
    assert network.client("health-office").verify(study).verified
    for org in network.organisations:
        votes = cast(network.home(org.name).votes)
        assert votes and not contradictions(votes), org.name


def propose(network: Network) -> str:
    """A study of all three hospitals, approved by all."""
    proposed = network.client("northfield").train(
        "cells", code=demo.STUDY.read_bytes(), datasets=[f"{name}/cells@1" for name in HOSPITALS], roster=HOSPITALS,
        purpose="diagnosis", rounds=ROUNDS, quorum=3, round_timeout_s=60,
    )  # fmt: skip
    for name in HOSPITALS[1:]:
        network.client(name).approve(proposed)
    return proposed.record.digest


def rounds(network: Network, study: str, without: str) -> int:
    """How many rounds are final, as somebody else than `without` sees it."""
    witness = next(name for name in HOSPITALS if name != without)
    return len(network.client(witness).study(study).rounds)


def concluded(network: Network, study: str) -> Study:
    """The study once it has a model."""
    deadline = time.monotonic() + STUDY_S_MAX
    while time.monotonic() < deadline:
        try:
            state = network.client("riverside").study(study)
        except ComityError:
            continue
        if state.state == "concluded":
            return state
        time.sleep(0.2)
    logs = "\n".join(f"{name}: {network.log_tail(name, 12)}" for name in HOSPITALS)
    pytest.fail(f"the study did not end in {STUDY_S_MAX:.0f} s:\n{logs}")
