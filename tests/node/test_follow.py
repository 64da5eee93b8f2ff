"""A node that is killed comes back as it was: the same view, its work goes on, and nothing stays of half a step."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comity.node.home import Home
from comity.store.blobs import BlobStore
from support.live import ORG, TABLE, Live, started
from support.story import reached, study_body, until

pytestmark = pytest.mark.net


@pytest.fixture
def alone() -> Iterator[Live]:
    """A network of this test's own, since it dies."""
    with started() as live:
        yield live


def descendants(pid: int) -> set[int]:
    """Every process below one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - {pid}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def killed(live: Live) -> None:
    """SIGKILL to the main process alone; its children must see it."""
    children = descendants(live.pid)
    assert len(children) >= 2
    live.network.kill(ORG)
    until(lambda: not any(map(alive, children)), 2.0)


def records(live: Live) -> list[Any]:
    return list(live.get("/api/v1/records", limit=200)["records"])


def facts(live: Live) -> Counter[str]:
    """How often each fact stands."""
    found: Counter[str] = Counter()
    for record in records(live):
        spec = {name: value for name, value in record["spec"].items() if name not in ("time", "nonce")}
        found[record["kind"] + json.dumps(spec, sort_keys=True)] += 1
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_killed_after_a_dataset_and_while_a_round_runs(alone: Live) -> None:
    first = alone.add("breast")
    before = records(alone)
    killed(alone)
    store = BlobStore(alone.home / "blobs", Home(alone.home).key("blobs"))
    orphan = store.put(b"a table whose node was killed before it wrote down whose it is", bytes_max=1000)
    alone.network.start()
    assert records(alone) == before
    assert not store.has(orphan)
    study = alone.post("/api/v1/studies", study_body(alone, "goes-on", first["digest"], rounds=3))["record"]["digest"]
    page = f"/api/v1/studies/{study}"
    until(lambda: alone.get(page)["round"] >= 2)
    killed(alone)
    alone.network.start()
    done = reached(alone, page, "concluded")
    assert [entry["index"] for entry in done["rounds"]] == [1, 2, 3]
    assert max(facts(alone).values()) == 1
    assert Counter(record["kind"] for record in records(alone)) == {"dataset": 1, "study": 1, "round": 3, "model": 1}
    assert alone.post(f"/api/v1/records/{study}/verify")["verified"] is True
    assert alone.add("breast", TABLE + b"9.5,9,1\n")["spec"]["version"] == 2
