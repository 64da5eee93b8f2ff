"""The figures of joint work on a running four-organisation network: the time of a round, and predictions a second.

It does what the demo does, through the same SDK, on the same public data.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comity.shell import demo_data
from comity.shell.dev import Network

HOSPITALS = ("northfield", "riverside", "lakeside")
REGULATOR = "health-office"
SERVICE = "triage"
WAIT_S_MAX = 180.0


class BenchmarkError(Exception):
    """The network did not do in time what is measured."""


@dataclass(frozen=True)
class Rounds:
    """A study's rounds: commit, reveal, aggregate, attested by every validator."""

    count: int
    wall_s: float

    @property
    def seconds_each(self) -> float:
        return self.wall_s / self.count


@dataclass(frozen=True)
class Predictions:
    """Requests answered over HTTP, each with a receipt that was durable before its answer left."""

    count: int
    wall_s: float
    delays: tuple[float, ...]

    @property
    def per_second(self) -> float:
        return self.count / self.wall_s

    def quantile(self, q: float) -> float:
        """The delay that a share `q` of the requests did not pass, in seconds."""
        return self.delays[min(len(self.delays) - 1, int(q * len(self.delays)))]


def train(network: Network, work: Path, code: Path, rounds: int) -> Rounds:
    """A study of `rounds` rounds among the three hospitals; the clock runs from the last approval to the last round."""
    tables = demo_data.load(HOSPITALS)
    datasets = []
    for name, (features, labels) in tables.hospitals.items():
        path = work / f"{name}.csv"
        demo_data.write_csv(path, tables.columns, features, labels)
        client = network.client(name)
        client.add_dataset(path, name="breast", purposes=["diagnosis"], licence="CC-BY-4.0", consent="broad")
        datasets.append(f"{name}/breast@1")
    first = network.client(HOSPITALS[0])
    study = first.train(
        "breast-mlp",
        code=code,
        datasets=datasets,
        roster=list(HOSPITALS),
        purpose="diagnosis",
        rounds=rounds,
        rule="mean",
        quorum=3,
    )
    for name in HOSPITALS[1:]:
        network.client(name).approve(study.record.digest)
    begun = time.perf_counter()
    for state in first.watch(study.record.digest, every_s=0.05, timeout_s=WAIT_S_MAX):
        if state.state == "refused":
            raise BenchmarkError("the study was refused")
    return Rounds(rounds, time.perf_counter() - begun)


def deploy(network: Network) -> None:
    """Make the model that `train` left serve."""
    first = network.client(HOSPITALS[0])
    first.define_service(SERVICE, approvals=3, time_lock_s=1)
    proposal = first.deploy("breast-mlp@1", service=SERVICE)
    for name in (*HOSPITALS[1:], REGULATOR):
        network.client(name).approve(proposal.record.digest)
    deadline = time.monotonic() + WAIT_S_MAX
    while True:
        try:
            network.client("lakeside").predict(SERVICE, [_row()])
            return
        except Exception as error:  # not serving yet: the reason is told if it never does
            if time.monotonic() > deadline:
                raise BenchmarkError("the service never answered") from error
            time.sleep(0.2)


def _row() -> list[float]:
    return [float(value) for value in demo_data.load(HOSPITALS).held_out[0][0]]


def predict(network: Network, count: int, clients: int = 4) -> Predictions:
    """`count` single-row requests from `clients` callers, each waiting for its answer before it asks again."""
    row = _row()

    def ask(share: int) -> list[float]:
        client: Any = network.client("lakeside")
        delays = []
        for _ in range(share):
            begun = time.perf_counter()
            if not client.predict(SERVICE, [row]).receipt:
                raise BenchmarkError("an answer without a receipt")
            delays.append(time.perf_counter() - begun)
        return delays

    with ThreadPoolExecutor(clients) as pool:
        begun = time.perf_counter()
        parts = list(pool.map(ask, [count // clients] * clients))
        wall_s = time.perf_counter() - begun
    delays = sorted(delay for part in parts for delay in part)
    return Predictions(len(delays), wall_s, tuple(delays))
