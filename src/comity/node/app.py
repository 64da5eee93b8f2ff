"""A node from its folder to its last breath: start the parts in order, run until told to stop, stop them in reverse.

This is the only module that knows every part. How a folder is made is in `founding`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from comity.ledger import anchoring
from comity.ledger.genesis import Genesis
from comity.ledger.mempool import Mempool
from comity.ledger.replica import Replica, Settings
from comity.ledger.types import Transaction
from comity.ledger.view import View
from comity.node import executor, signer
from comity.node.anchors import Anchors
from comity.node.auth import Auth
from comity.node.channel import Channel
from comity.node.children import Child, Children, follow_parent
from comity.node.config import Value, read_file, resolve
from comity.node.connection import Contact, Local
from comity.node.controllers import Controllers
from comity.node.desk import Desk
from comity.node.doctor import Doctor
from comity.node.errors import ChildError, LostVotes
from comity.node.events import Hub, Journal
from comity.node.follow import Follower
from comity.node.home import Home
from comity.node.local import TABLES, LocalState
from comity.node.metrics import Metrics
from comity.node.network import genesis_hash
from comity.node.node import Node
from comity.node.noise import Identity, public_key
from comity.node.peers import Peers
from comity.node.perform import Performer
from comity.node.reconcile import Reconciler
from comity.node.room import Room, Sandboxes
from comity.node.rpc import Rpc
from comity.node.runtime import Runtime
from comity.node.serving import Serving
from comity.node.vitals import vitals_of
from comity.node.web import Mount, application, serve_http
from comity.record.types import Address, Hash32
from comity.store.blobs import BlobStore
from comity.store.kv import LmdbStore

LOCAL_BYTES_MAX = 4 << 30
log = logging.getLogger("comity.app")


def run(root: Path, *, flags: Mapping[str, Any], mounts: Sequence[Mount] = (), vote_from: int = 0) -> None:
    """Run the node of the folder `root` until SIGINT or SIGTERM, or until the replica halts.

    `vote_from`: after a restore, sign no vote below this height. Raises `HomeBusy`, or `LostVotes` when only it could help.
    """
    home = Home(root)
    if not vote_from and (home.ledger / "data.mdb").exists() and not home.votes.exists():
        raise LostVotes(
            "this node has a ledger and no vote log",
            why="without it the validator's key could sign twice",
            hint=f"restore {home.votes}, or ask a member for the height and start with: comity up --vote-from HEIGHT",
        )
    genesis = home.load_genesis()
    values = resolve(read_file(home.config), os.environ, flags)
    journal = Journal(time.time)
    logging.basicConfig(
        level=str(values["log_level"].value).upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("comity").addHandler(journal)
    with home.lock():
        asyncio.run(_live(home, genesis, values, journal, mounts, vote_from))


async def _live(
    home: Home,
    genesis: Genesis,
    values: Mapping[str, Value],
    journal: Journal,
    mounts: Sequence[Mount],
    vote_from: int,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    follow_parent(lambda: loop.call_soon_threadsafe(stop.set))
    async with assembled(home, genesis, values, journal, vote_from) as (node, children):
        metrics = node.metrics
        rpc = Rpc(
            node.chain, submit=node.runtime.submit, next_nonce=node.runtime.next_nonce, chain_id=genesis.chain_id,
            pending=node.runtime.pending, peers=lambda: len(node.peers.connected), on_call=metrics.rpc_called,
        )  # fmt: skip
        async with serve_http(application(node, rpc, metrics, mounts, int(values["port"].value)), values):
            log.info("%s is up: %s, height %d", node.org, node.url, node.view.height)
            await _until(stop, node, children)


async def _until(stop: asyncio.Event, node: Node, children: Children) -> None:
    """Until told to stop; raises when the ledger halts here or a process cannot be kept alive."""
    stopping = asyncio.create_task(stop.wait())
    try:
        waiting: list[asyncio.Future[Any]] = [stopping, node.runtime.halted, children.failed]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    if node.runtime.halted in done:
        raise ChildError(
            "the ledger halted here",
            why=node.runtime.halted.result(),
            hint="comity logs; the evidence lies in the node's folder",
        )
    if children.failed in done:
        children.failed.result()


@asynccontextmanager
async def assembled(
    home: Home, genesis: Genesis, values: Mapping[str, Value], journal: Journal, vote_from: int = 0
) -> AsyncIterator[tuple[Node, Children]]:
    """All parts of a node but HTTP, running; stopped in reverse at the end."""
    async with AsyncExitStack() as stack:
        org, known_as = str(values["org"].value), genesis_hash(genesis)
        hub, metrics = Hub(), Metrics(time.time)
        blobs = BlobStore(home.blobs, home.key("blobs"))
        local = LocalState(stack.enter_context(LmdbStore(home.local / "state", TABLES, LOCAL_BYTES_MAX)))
        children, sign, chain = await _processes(stack, home, genesis, org, known_as, metrics, vote_from)
        view, addresses = View(genesis.members), await sign.addresses()
        identity = Identity(known_as, await sign.peer(public_key(home.key("peer"))), org)
        me = Local(org, Address(addresses.org), home.key("peer"), identity)
        runtime, peers = _network(home, genesis, values, me, addresses, view, chain, sign, blobs, local)
        anchors = Anchors(
            address=me.address, chain_id=genesis.chain_id, view=view, signer=sign, chain=chain,
            now=lambda: int(time.time()), submit=runtime.submit, next_nonce=runtime.next_nonce,
        )  # fmt: skip
        sandboxes = Sandboxes(home.tokens)
        room = Room(blobs, local, sandboxes)
        serving = await stack.enter_async_context(
            Serving.open(org=org, home=home, room=room, view=view, counted=metrics.predicted)
        )
        controllers = Controllers(
            org=org, view=view, local=local, blobs=blobs, room=room, serving=serving, sandboxes=sandboxes, values=values
        )
        stack.push_async_callback(controllers.close)
        performer = Performer(anchors=anchors, peers=peers, blobs=blobs, local=local, workers=controllers.workers)
        reconciler = Reconciler(controllers.plan, performer)
        serving.on_change(reconciler.wake)
        desk = Desk(
            org=org, view=view, anchors=anchors, blobs=blobs, local=local, initial=controllers.initial,
            entropy=os.urandom, changed=reconciler.wake,
        )  # fmt: skip
        if swept := desk.sweep():
            log.info("%d blobs deleted that nothing needs", swept)
        follower = Follower(view, chain, genesis.chain_id, anchors=anchors, hub=hub, changed=reconciler.wake, org=org)
        await follower.refold()
        runtime.on_commit(follower.committed)
        runtime.on_commit(metrics.committed)
        metrics.read_from(runtime, peers)
        node = Node(
            org=org, url=f"http://{values['host'].value}:{values['port'].value}", dev=(home.root / "DEV").exists(),
            since=int(time.time()), genesis=genesis, genesis_hash=known_as, values=values, view=view, chain=chain,
            runtime=runtime, peers=peers, blobs=blobs, local=local, desk=desk, serving=serving,
            auth=Auth.load(home.tokens, now=time.time, secret=lambda: secrets.token_urlsafe(32)),
            doctor=Doctor(()), hub=hub, metrics=metrics, journal=journal, reconciler=reconciler,
        )  # fmt: skip
        node.doctor = Doctor(vitals_of(node, children, sandboxes, home, controllers.disagreements))
        await _begin(stack, node)
        yield node, children


async def _begin(stack: AsyncExitStack, node: Node) -> None:
    """Start what moves: the replica, then its peers, then the work."""
    await node.runtime.start()
    stack.push_async_callback(node.runtime.stop)
    await node.peers.start()
    stack.push_async_callback(node.peers.stop)
    stack.push_async_callback(_cancel, asyncio.create_task(node.reconciler.run(), name="reconcile"))


def _network(
    home: Home, genesis: Genesis, values: Mapping[str, Value], me: Local, addresses: signer.Addresses, view: View,
    chain: executor.ChainClient, sign: signer.SignerClient, blobs: BlobStore, local: LocalState,
) -> tuple[Runtime, Peers]:  # fmt: skip
    """The replica's runtime and the connections to the other members; they know each other."""
    links = _Links()
    peers = Peers(
        me,
        listen=(str(values["host"].value), int(values["port"].value) + 1),
        directory=lambda: {m.name: Contact(m.org, m.endpoint) for m in view.members.values() if m.name != me.name},
        on_message=links.on_message,
        on_connect=links.on_connect,
        on_disconnect=links.on_disconnect,
        blobs=blobs,
        permit=lambda name, digest: "" if local.is_shared(digest) else "this node shares no such blob",
    )
    validator = Address(addresses.validator) if addresses.validator else None
    settings = Settings(
        genesis.chain_id, me.identity.genesis, validator,
        genesis.block_period_ms, genesis.empty_period_ms,
    )  # fmt: skip
    pool = Mempool(rule=lambda transaction: _admissible(transaction, view), is_member=view.is_member)
    links.runtime = Runtime(
        Replica(settings, pool), chain=chain, signer=sign, peers=peers, memory=home.votes.parent / "memory",
        floor=addresses.floor, clock_ms=lambda: int(time.time() * 1000),
    )  # fmt: skip
    return links.runtime, peers


def _admissible(transaction: Transaction, view: View) -> None:
    """The pool refuses at the door what no block may hold; the chain asks again when it builds."""
    anchoring.check(transaction, view.members_by_name)


class _Links:
    """Peers and runtime know each other; the runtime comes second."""

    runtime: Runtime | None = None

    def on_message(self, name: str, kind: int, body: bytes) -> None:
        if self.runtime is not None:
            self.runtime.on_message(name, kind, body)

    def on_connect(self, name: str) -> None:
        if self.runtime is not None:
            self.runtime.on_connect(name)

    def on_disconnect(self, name: str) -> None:
        if self.runtime is not None:
            self.runtime.on_disconnect(name)


async def _processes(
    stack: AsyncExitStack,
    home: Home,
    genesis: Genesis,
    org: str,
    known_as: Hash32,
    metrics: Metrics,
    vote_from: int,
) -> tuple[Children, signer.SignerClient, executor.ChainClient]:
    """The signer and the executor, supervised."""
    signing, executing = Channel("signer"), Channel("executor")
    sign = signer.SignerClient(signing)
    chain = executor.ChainClient(executing)
    signing_with = signer.arguments(
        home.keys, home.votes, org=org, chain_id=genesis.chain_id, genesis=known_as, vote_from=vote_from
    )
    children = Children(home.logs, on_restart=metrics.restarted)
    stack.push_async_callback(children.stop)
    await children.start([
        Child("signer", signing_with, signing, ready=sign.addresses),
        Child("executor", executor.arguments(home.ledger, home.genesis), executing, ready=chain.head),
    ])  # fmt: skip
    return children, sign, chain


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
