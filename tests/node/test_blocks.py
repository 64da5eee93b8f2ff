"""Blocks of a real node as people read them: chained, sealed, decoded, and the same as Ethereum tools see."""

from __future__ import annotations

from itertools import pairwise

import pytest

from support.live import Live
from support.story import Story

pytestmark = pytest.mark.net


def test_the_chain_holds_together(live: Live, story: Story) -> None:
    page = live.get("/api/v1/ledger", limit=200)
    blocks = page["blocks"]
    assert [block["height"] for block in blocks] == list(range(page["height"], page["height"] - len(blocks), -1))
    for newer, older in pairwise(blocks):
        assert newer["parent"] == older["hash"]
        assert newer["time"] >= older["time"]
    first = live.get("/api/v1/ledger", limit=5, before=3)["blocks"]
    assert [block["height"] for block in first] == [2, 1, 0]
    assert first[-1]["seals"] == 0
    assert live.get("/api/v1/ledger", before=0)["blocks"] == []


def test_a_block_names_who_sealed_it_and_what_was_called(live: Live, story: Story) -> None:
    anchor = live.get(f"/api/v1/records/{story.dataset}")["record"]["anchor"]
    page = live.get(f"/api/v1/ledger/{anchor['height']}")
    assert [seal["org"] for seal in page["sealed_by"]] == ["northfield"]
    sent = page["transactions"][anchor["position"]]
    assert (sent["hash"], sent["org"], sent["succeeded"]) == (anchor["transaction"], "northfield", True)
    assert (sent["contract"], sent["record"]["digest"]) == ("Records", story.dataset)
    assert sent["arguments"]["kind"] == "dataset"
    assert [event["name"] for event in sent["events"]] == ["Anchored"]


def test_every_block_of_the_story_can_be_read(live: Live, story: Story) -> None:
    seen = set()
    for height in range(live.height() + 1):
        page = live.get(f"/api/v1/ledger/{height}")
        assert len(page["transactions"]) == page["block"]["transactions"]
        seen |= {f"{tx['contract']}.{tx['function']}" for tx in page["transactions"]}
    assert {"Studies.propose", "Studies.commit", "Studies.reveal", "Governance.vote"} <= seen


def test_json_rpc_sees_the_same(live: Live, story: Story) -> None:
    page = live.get("/api/v1/ledger/1")
    with live.http() as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["0x1", False]}
        found = http.post("/rpc", json=body).json()["result"]
    assert found["hash"] == page["block"]["hash"]
    assert found["stateRoot"] == page["state_root"]
    assert found["transactions"] == [tx["hash"] for tx in page["transactions"]]
