"""The load generator: what it signs is what a node accepts, it stays on this machine, and its figures are what was seen."""

from __future__ import annotations

import json
import shutil

import pytest
from benchmarks.ledger import measure
from benchmarks.load import Load, pause
from benchmarks.peer import anvil
from benchmarks.report import Row
from benchmarks.rpc import Rpc, RpcError, batch, hashes
from benchmarks.wallet import TOKEN, accounts, deployment, ether_transfers, token_transfers

from benchmarks import report
from comity.ledger.transaction import decode
from comity.record.types import Address


def test_transfers_are_valid_and_in_order() -> None:
    wallets = accounts(4, 31337, "test")
    decoded = [decode(raw, chain_id=31337) for raw in ether_transfers(wallets, 8)]
    assert [tx.sender for tx in decoded] == [wallet.address for wallet in wallets] * 2
    assert [tx.nonce for tx in decoded] == [0] * 4 + [1] * 4
    token = decode(token_transfers(wallets, 1, Address(b"t" * 20))[0], chain_id=31337)
    assert (token.nonce, token.to, len(token.data)) == (2, b"t" * 20, 68)


def test_the_token_is_built_from_its_source() -> None:
    assert {entry["name"] for entry in TOKEN["abi"] if entry["type"] == "function"} >= {
        "transfer",
        "balanceOf",
        "approve",
    }
    assert len(deployment(accounts(2, 1, "test"))) > 1000


@pytest.mark.parametrize("url", ["http://192.0.2.1:8545", "https://127.0.0.1:1", "http://example.org"])
def test_load_goes_nowhere_else(url: str) -> None:
    with pytest.raises(RpcError, match="this machine only"):
        Rpc(url)


def test_a_refusal_in_a_batch_is_an_error() -> None:
    assert len(json.loads(batch([b"\x01", b"\x02"]))) == 2
    assert hashes([{"id": 1, "result": "b"}, {"id": 0, "result": "a"}], 2) == ["a", "b"]
    with pytest.raises(RpcError, match="1 of 2 refused: nonce too low"):
        hashes([{"id": 0, "result": "a"}, {"id": 1, "error": {"message": "nonce too low"}}], 2)
    with pytest.raises(RpcError):
        hashes({"error": "no"}, 2)


def test_figures() -> None:
    load = Load(count=4, wall_s=2.0, blocks=1, delays=(0.1, 0.2, 0.3, 0.9))
    assert (load.per_second, load.quantile(0.5), load.quantile(0.99)) == (2.0, 0.3, 0.9)
    slept: list[float] = []
    pause(5.0, now=lambda: 3.0, sleep=slept.append)
    pause(1.0, now=lambda: 3.0, sleep=slept.append)
    assert slept == [2.0]


def test_the_page_keeps_its_words(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "benchmarks.md"  # type: ignore[operator]
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)
    report.write(report.text([Row("ether", "1 tx/s", "so")], "make bench", 0.5))
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| ether | 1 tx/s | so  |" in text


@pytest.mark.peer
@pytest.mark.net
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm brings anvil, and this machine has no npm")
def test_a_peer_takes_the_same_load() -> None:
    with anvil(1) as target:
        figures = measure(target, transactions=200, wallets=10, steady=5)
    assert (figures.ether.count, figures.token.count, figures.finality.count) == (200, 200, 5)
    assert 0 < figures.finality.quantile(0.5) < 5
