"""Founding and joining as people do it: init, up, join, admit, approve; the newcomer syncs, and then seals blocks with the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comity.shell.sdk import Client
from support.ports import free_base

pytestmark = [pytest.mark.net, pytest.mark.timeout(180)]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A COMITY_HOME whose nodes are stopped at the end."""
    running: list[subprocess.Popen[bytes]] = []
    UPS[tmp_path] = running
    yield tmp_path
    for process in running:
        process.terminate()
    for process in running:
        assert process.wait(15) == 0, "a node that is asked to stop ends well"
    del UPS[tmp_path]


UPS: dict[Path, list[subprocess.Popen[bytes]]] = {}


def comity(home: Path, *words: str, expect: int = 0) -> Any:
    """A command's data."""
    environment = {**os.environ, "COMITY_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "comity.shell.cli", "--json", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    return answer["error"] if expect else answer["data"]


def up(home: Path, name: str, *options: str) -> Client:
    """Start a node and wait until it answers."""
    environment = {**os.environ, "COMITY_HOME": str(home)}
    with (home / f"{name}.log").open("wb") as log:
        command = [sys.executable, "-m", "comity.shell.cli", "--org", name, "up", *options]
        UPS[home].append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
    client = Client.connect(name, home=home)

    def answers() -> bool:
        try:
            return client.status().org == name
        except Exception:
            assert UPS[home][-1].poll() is None, (home / f"{name}.log").read_text()
            return False

    until(answers)
    return client


def until(reached: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_network_of_one_grows_by_a_vote(home: Path) -> None:
    base = free_base(2)
    digest = comity(home, "init", "alpha", "--port", str(base))["genesis"]
    alpha = up(home, "alpha")
    table = home / "table.csv"
    table.write_text("age,label\n" + "41,1\n" * 12)
    first = alpha.add_dataset(table, name="ages", purposes=["care"], licence="CC0-1.0", consent="broad")

    wrong = comity(home, "join", "beta", "--genesis", str(home / "alpha/genesis.json"), "--digest", "0" * 64, expect=1)
    assert digest in wrong["why"]
    joined = comity(
        home,
        "join",
        "beta",
        "--genesis",
        str(home / "alpha/genesis.json"),
        "--digest",
        digest,
        "--port",
        str(base + 10),
    )
    comity(home, "--org", "alpha", *joined["command"].split()[1:])
    entry = comity(home, "--org", "alpha", "inbox")["entries"][0]
    comity(home, "--org", "alpha", "approve", entry["record"]["digest"][:8])

    beta = up(home, "beta")
    until(lambda: beta.status().ledger.height == alpha.status().ledger.height)
    assert [record.digest for record in beta.records(kind="dataset")] == [first.digest]
    assert beta.status().ledger.validating

    second = beta.add_dataset(table, name="ages", purposes=["care"], licence="CC0-1.0", consent="broad")
    until(lambda: any(record.digest == second.digest for record in alpha.records(kind="dataset")))
    assert alpha.blocks(limit=1)[0].seals == 2
    assert {member.name for member in alpha.members()} == {"alpha", "beta"}


def test_a_lost_vote_log_stops_the_start_until_somebody_names_a_height(home: Path) -> None:
    comity(home, "init", "alpha", "--port", str(free_base(1)))
    client = up(home, "alpha")
    table = home / "table.csv"
    table.write_text("age,label\n" + "41,1\n" * 12)
    client.add_dataset(table, name="ages", purposes=["care"], licence="CC0-1.0", consent="broad")
    height = client.status().ledger.height
    process = UPS[home].pop()
    process.terminate()
    assert process.wait(15) == 0
    (home / "alpha/signer/votes.log").unlink()

    command = [sys.executable, "-m", "comity.shell.cli", "--org", "alpha", "up"]
    environment = {**os.environ, "COMITY_HOME": str(home)}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1
    assert "no vote log" in refused.stderr
    assert "--vote-from" in refused.stderr

    again = up(home, "alpha", "--vote-from", str(height + 1))
    again.add_dataset(table, name="ages", purposes=["care"], licence="CC0-1.0", consent="broad")
    assert again.status().ledger.height == height + 1


def test_two_nodes_never_run_from_one_folder(home: Path) -> None:
    comity(home, "init", "alpha", "--port", str(free_base(1)))
    up(home, "alpha")
    environment = {**os.environ, "COMITY_HOME": str(home)}
    command = [sys.executable, "-m", "comity.shell.cli", "--org", "alpha", "up"]
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert "another node already runs" in second.stderr
    assert "hint:" in second.stderr


def test_keys_are_never_overwritten(home: Path) -> None:
    comity(home, "init", "alpha")
    before = (home / "alpha/keys/org.key").read_bytes()
    error = comity(home, "init", "alpha", expect=1)
    assert "already holds an organisation" in error["message"]
    assert (home / "alpha/keys/org.key").read_bytes() == before
    assert all((path.stat().st_mode & 0o077) == 0 for path in (home / "alpha/keys").iterdir())
