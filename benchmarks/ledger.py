"""The ledger's figures over JSON-RPC: committed transfers of ether and of an EIP-20 token a second, and finality.

The same code measures any node that speaks Ethereum's JSON-RPC; see `peer` for the one that it is compared with.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

from benchmarks.load import CONNECTIONS, Load, Target, Watcher, saturate, trickle
from benchmarks.rpc import Rpc, RpcError
from benchmarks.wallet import ANVIL_KEY, DEPLOY_GAS, Wallet, accounts, deployment, ether_transfers, token_transfers
from comity.record.keys import PrivateKey
from comity.record.types import Address

FUNDS_WEI = 10**18
RECEIPT_S_MAX = 60.0


@dataclass(frozen=True)
class Figures:
    """One node's, or one network's."""

    target: str
    ether: Load
    token: Load
    finality: Load


def _receipt(rpc: Rpc, name: str) -> dict[str, str]:
    deadline = time.monotonic() + RECEIPT_S_MAX
    while (receipt := rpc.call("eth_getTransactionReceipt", name)) is None:
        if time.monotonic() > deadline:
            raise RpcError(f"no receipt of {name} within {RECEIPT_S_MAX:.0f} s")
        time.sleep(0.05)
    if receipt["status"] != "0x1":
        raise RpcError(f"{name} failed")
    return dict(receipt)


def prepare(target: Target, count: int) -> tuple[list[Wallet], Address]:
    """Fund `count` new accounts with ether and with a new token."""
    with target.open() as rpc:
        chain_id = int(rpc.call("eth_chainId"), 16)
        bank = Wallet(PrivateKey.from_bytes(ANVIL_KEY), chain_id)
        bank.nonce = int(rpc.call("eth_getTransactionCount", "0x" + bank.address.hex(), "latest"), 16)
        wallets = accounts(count, chain_id, uuid.uuid4().hex)
        with Watcher(target) as watcher:
            names = [
                rpc.call("eth_sendRawTransaction", "0x" + bank.sign(wallet.address, value=FUNDS_WEI).hex())
                for wallet in wallets
            ]
            watcher.wait(names)
        raw = bank.sign(None, data=deployment(wallets), gas=DEPLOY_GAS)
        receipt = _receipt(rpc, rpc.call("eth_sendRawTransaction", "0x" + raw.hex()))
    return wallets, Address(bytes.fromhex(receipt["contractAddress"][2:]))


def measure(
    target: Target, *, transactions: int, wallets: int = 50, steady: int = 100, steady_per_second: float = 10
) -> Figures:
    """Load `target` three times: ether, token, and a trickle for finality."""
    if wallets % CONNECTIONS:
        raise ValueError("an account's transactions must stay on one connection, in order")
    holders, token = prepare(target, wallets)
    ether = saturate(target, ether_transfers(holders, transactions))
    tokens = saturate(target, token_transfers(holders, transactions, token))
    finality = trickle(target, ether_transfers(holders, steady), steady_per_second)
    return Figures(target.name, ether, tokens, finality)
