"""Accounts and signed transactions for load: everything is signed before the clock starts.

Transactions are type 0 (EIP-155) at a gas price of zero, which both Comity and anvil, so started, accept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from eth_abi.abi import encode

from comity.ledger.transaction import assemble, signing_payload
from comity.record.digest import keccak256
from comity.record.keys import PrivateKey
from comity.record.types import Address, Wei

TOKEN = json.loads((Path(__file__).parent / "contracts" / "Token.json").read_text())
TRANSFER_SELECTOR = bytes(keccak256(b"transfer(address,uint256)"))[:4]
ETHER_GAS = 21_000
TOKEN_GAS = 60_000
DEPLOY_GAS = 8_000_000
FUNDS_BANK_WEI = Wei(10**24)
ANVIL_KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""Anvil's first account: published, worthless. The benchmark's own network funds it in its genesis too."""


@dataclass
class Wallet:
    """A key and its next nonce."""

    key: PrivateKey
    chain_id: int
    nonce: int = field(default=0)

    @property
    def address(self) -> Address:
        return self.key.address

    def sign(self, to: Address | None, *, value: int = 0, data: bytes = b"", gas: int = ETHER_GAS) -> bytes:
        """The next raw transaction of this account; `to` None creates a contract."""
        payload = signing_payload(
            chain_id=self.chain_id, nonce=self.nonce, to=to, gas=gas, data=data, value=value, kind=0
        )
        self.nonce += 1
        return assemble(payload, self.key.sign(keccak256(payload)))


def accounts(count: int, chain_id: int, run: str) -> list[Wallet]:
    """`count` accounts that no other run uses."""
    return [Wallet(PrivateKey.from_seed(f"benchmark {run} {index}"), chain_id) for index in range(count)]


def deployment(holders: list[Wallet], each: int = 10**24) -> bytes:
    """The creation code of a token that its holders share."""
    arguments = encode(["address[]", "uint256"], [[bytes(wallet.address) for wallet in holders], each])
    return bytes.fromhex(TOKEN["bytecode"][2:]) + arguments


def ether_transfers(wallets: list[Wallet], count: int) -> list[bytes]:
    """`count` transfers of one wei, each account to the next, by turns."""
    return [wallets[i % len(wallets)].sign(wallets[(i + 1) % len(wallets)].address, value=1) for i in range(count)]


def token_transfers(wallets: list[Wallet], count: int, token: Address) -> list[bytes]:
    """`count` transfers of one token unit, each account to the next, by turns."""
    data = [TRANSFER_SELECTOR + encode(["address", "uint256"], [bytes(wallet.address), 1]) for wallet in wallets]
    return [
        wallets[i % len(wallets)].sign(token, data=data[(i + 1) % len(wallets)], gas=TOKEN_GAS) for i in range(count)
    ]
