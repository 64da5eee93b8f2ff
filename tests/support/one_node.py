"""One node's infrastructure as a program: signer, executor, peers, runtime and JSON-RPC, without the rest of the house.

`python one_node.py FOLDER`: serves JSON-RPC on the home's port until SIGTERM. `found` makes the folders of a network.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comity.ledger.genesis import Genesis, Member
from comity.ledger.mempool import Mempool
from comity.ledger.replica import Replica, Settings
from comity.node import executor, home, signer
from comity.node.channel import Channel
from comity.node.children import Child, Children
from comity.node.connection import Contact, Limits, Local
from comity.node.home import Home
from comity.node.metrics import Metrics
from comity.node.network import genesis_hash
from comity.node.noise import Identity, public_key
from comity.node.peers import Peers
from comity.node.rpc import Rpc
from comity.node.runtime import Runtime
from comity.record.keys import PrivateKey
from comity.record.types import Address, Digest, Wei
from support.members import Blobs

CHAIN_ID = 31337
RICH = PrivateKey.from_seed("rich")
QUICK = Limits(retry_s_min=0.05, retry_s_max=0.5, ping_s=1, silence_s=5)


def free_ports(count: int) -> list[int]:
    """Base ports whose successor is free too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            if not any(abs(port - taken) < 2 for taken in found) and port < 65_000:
                found.append(port)
    return found


def found(root: Path, names: Sequence[str], *, block_period_ms: int = 100, empty_period_ms: int = 60_000) -> list[Home]:
    """Folders of a network in which each of `names` runs a validator; `RICH` has ether."""
    homes, members = [], []
    for name, port in zip(names, free_ports(len(names)), strict=True):
        made = home.create(root / name, org=name, port=port, entropy=_dev(name))
        homes.append(made)
        members.append(Member(name, made.address("org"), made.address("validator"), f"127.0.0.1:{port + 1}"))
    genesis = Genesis(
        CHAIN_ID,
        int(time.time()) - 10,
        tuple(members),
        block_period_ms=block_period_ms,
        empty_period_ms=empty_period_ms,
        alloc={RICH.address: Wei(10**24)},
    )
    for made in homes:
        home.install_genesis(made, genesis, genesis_hash(genesis).hex())
    return homes


def _dev(name: str) -> home.Entropy:
    return lambda key: hashlib.sha256(f"{name} {key}".encode()).digest()


@asynccontextmanager
async def running(place: Home, org: str, port: int) -> AsyncIterator[tuple[Rpc, Metrics, asyncio.Future[str]]]:
    """Everything but HTTP, stopped in reverse."""
    genesis = place.load_genesis()
    known_as = genesis_hash(genesis)
    signing, executing = Channel("signer"), Channel("executor")
    sign, chain = signer.SignerClient(signing), executor.ChainClient(executing)
    metrics = Metrics(time.time)
    children = Children(place.logs, on_restart=metrics.restarted)
    line = signer.arguments(place.keys, place.votes, org=org, chain_id=CHAIN_ID, genesis=known_as)
    await children.start([
        Child("signer", line, signing, ready=sign.addresses),
        Child("executor", executor.arguments(place.ledger, place.genesis), executing, ready=chain.head),
    ])  # fmt: skip
    (place.root / "children").write_text(f"{children.pid('signer')} {children.pid('executor')}")
    me = await sign.addresses()
    validator = Address(me.validator) if me.validator else None
    settings = Settings(CHAIN_ID, known_as, validator, genesis.block_period_ms, genesis.empty_period_ms, 500)
    replica = Replica(settings, Mempool())
    static = place.key("peer")
    identity = Identity(known_as, await sign.peer(public_key(static)), org)
    directory = {member.name: Contact(member.org, member.endpoint) for member in genesis.members}
    box: list[Runtime] = []

    def permit(_name: str, _digest: Digest) -> str:
        return "no blobs here"

    peers = Peers(
        Local(org, Address(me.org), static, identity),
        listen=("127.0.0.1", port + 1),
        directory=lambda: directory,
        on_message=lambda name, kind, body: box[0].on_message(name, kind, body),
        on_connect=lambda name: box[0].on_connect(name),
        on_disconnect=lambda name: box[0].on_disconnect(name),
        blobs=Blobs(),
        permit=permit,
        limits=QUICK,
    )
    runtime = Runtime(
        replica,
        chain=chain,
        signer=sign,
        peers=peers,
        memory=place.votes.parent / "memory",
        floor=me.floor,
        clock_ms=lambda: int(time.time() * 1000),
    )
    box.append(runtime)
    runtime.on_commit(metrics.committed)
    metrics.read_from(runtime, peers)
    rpc = Rpc(
        chain,
        submit=runtime.submit,
        next_nonce=runtime.next_nonce,
        chain_id=CHAIN_ID,
        pending=runtime.pending,
        peers=lambda: len(peers.connected),
        on_call=metrics.rpc_called,
    )
    try:
        await runtime.start()
        await peers.start()
        yield rpc, metrics, runtime.halted
    finally:
        await peers.stop()
        await runtime.stop()
        await children.stop()


async def main(root: Path) -> int:
    """Serve until SIGTERM, or until the ledger halts (exit 4)."""
    place = Home(root)
    org = root.name
    member = next(m for m in place.load_genesis().members if m.name == org)
    port = int(member.endpoint.rpartition(":")[2]) - 1
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with running(place, org, port) as (rpc, metrics, halted):

        async def post(request: Request) -> Response:
            return Response(await rpc.handle(await request.body()), media_type="application/json")

        async def scrape(_: Request) -> Response:
            return Response(metrics.render(), media_type="text/plain")

        app = Starlette(routes=[Route("/", post, methods=["POST"]), Route("/metrics", scrape)])
        config = uvicorn.Config(app, port=port, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(server._serve())
        waiting: list[asyncio.Future[Any]] = [asyncio.create_task(stop.wait()), halted]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        return 4 if halted.done() else 0


class Node:
    """A node process of a test, and its JSON-RPC."""

    def __init__(self, place: Home) -> None:
        self.place = place
        members = place.load_genesis().members
        endpoint = next(m.endpoint for m in members if m.name == place.root.name)
        self.url = f"http://127.0.0.1:{int(endpoint.rpartition(':')[2]) - 1}/"
        self.process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(timeout=10)

    def start(self) -> None:
        """Start the process; it may not answer yet."""
        paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")])
        with (self.place.root / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(self.place.root)],
                env={**os.environ, "PYTHONPATH": paths},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def call(self, method: str, *parameters: Any) -> Any:
        """A JSON-RPC result; an `AssertionError` with the error otherwise."""
        body: Mapping[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = self._http.post(self.url, json=body).json()
        assert "result" in answer, answer
        return answer["result"]

    def height(self) -> int:
        """Of the head; -1 while it does not answer."""
        try:
            return int(self.call("eth_blockNumber"), 16)
        except httpx.TransportError:
            return -1

    def kill(self) -> list[int]:
        """SIGKILL the node, and only the node; returns its children, which must die by themselves."""
        children = [int(pid) for pid in (self.place.root / "children").read_text().split()]
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
        return children

    def stop(self) -> int:
        """SIGTERM and wait."""
        self._http.close()
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(5)

    def log(self) -> str:
        return (self.place.root / "node.log").read_text()


def wait_until(condition: Any, seconds: float = 15.0) -> None:
    """Wait for a condition of processes; fail the test if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.03)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
