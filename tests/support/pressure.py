"""A trickle of transfers into a living network, from a thread, whatever node is up: so that there is always something to agree on.

Not a benchmark. Each transaction is sent until some node takes it, so that nonces never have a hole.
"""

from __future__ import annotations

import http.client
import threading
from typing import Self

from benchmarks.rpc import Rpc, RpcError
from benchmarks.wallet import ANVIL_KEY, Wallet

from comity.record.keys import PrivateKey
from comity.shell import credentials
from comity.shell.dev import Network

PAUSE_S = 0.1
BANK = PrivateKey.from_bytes(ANVIL_KEY)


class Pressure:
    """`with Pressure(network): …`; `sent` counts what was taken."""

    def __init__(self, network: Network) -> None:
        self.sent = 0
        self._network = network
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pressure", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        wallet = Wallet(BANK, self._network.chain_id, nonce=self._nonce())
        raw = wallet.sign(BANK.address, value=1)
        turn = 0
        while not self._stop.wait(PAUSE_S):
            name = self._network.organisations[turn % len(self._network.organisations)].name
            turn += 1
            if self._offer(name, raw):
                self.sent += 1
                raw = wallet.sign(BANK.address, value=1)

    def _nonce(self) -> int:
        for organisation in self._network.organisations:
            own = credentials.load(organisation.name, home=self._network.root)
            try:
                with Rpc(own.url + "/rpc", own.token) as rpc:
                    return int(rpc.call("eth_getTransactionCount", "0x" + BANK.address.hex(), "pending"), 16)
            except (OSError, http.client.HTTPException, RpcError):
                continue
        raise RpcError("no node answers")

    def _offer(self, name: str, raw: bytes) -> bool:
        own = credentials.load(name, home=self._network.root)
        try:
            with Rpc(own.url + "/rpc", own.token) as rpc:
                rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
        except RpcError as refusal:
            # It came through before its answer was lost: the nonce is spent, and the next one is due.
            return "nonce" in str(refusal) or "known" in str(refusal)
        except (OSError, http.client.HTTPException):
            return False  # that node is dead just now
        return True
