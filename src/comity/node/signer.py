"""The process that holds an organisation's keys and signs nothing but typed messages bound to their purpose.

Votes pass `ledger.votelog` first, fsynced. No request reads a key, none signs a bare hash. `SignerClient` is the node's end.
"""

from __future__ import annotations

import argparse
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from comity.ledger import transaction
from comity.ledger.messages import Kind, Vote
from comity.ledger.votelog import VoteLog
from comity.node.channel import Channel, serve
from comity.node.children import bind_to_parent, inherited
from comity.node.errors import ChildError, SignerRefused
from comity.node.noise import KEY_BYTES, identity_hash
from comity.record import record as records
from comity.record.digest import keccak256
from comity.record.envelope import signing_hash
from comity.record.errors import ComityError
from comity.record.keys import PrivateKey
from comity.record.types import Hash32
from comity.store.errors import StoreError
from comity.store.wal import Log

REQUEST_BYTES_MAX = 2 * 1024 * 1024
TRANSACTION_TYPE = 2
"""The node makes EIP-1559 transactions only, so the signer signs no others."""


class AskAddresses(msgspec.Struct, tag="addresses", frozen=True):
    """Who are you?"""


class AskVote(msgspec.Struct, tag="vote", frozen=True):
    """A consensus vote; refused if it contradicts one that was signed before."""

    kind: int
    height: int
    round: int
    digest: bytes
    prepared: int


class AskRecord(msgspec.Struct, tag="record", frozen=True):
    """A record's payload, of our own organisation."""

    payload: bytes


class AskTransaction(msgspec.Struct, tag="transaction", frozen=True):
    """An unsigned EIP-1559 payload for our chain."""

    payload: bytes


class AskPeer(msgspec.Struct, tag="peer", frozen=True):
    """Vouch for our own X25519 static public key."""

    static: bytes


Ask = AskAddresses | AskVote | AskRecord | AskTransaction | AskPeer


class Addresses(msgspec.Struct, tag="addresses", frozen=True):
    """`validator` is None for a follower. `floor`: the height and round of the last vote."""

    org: bytes
    validator: bytes | None
    floor: tuple[int, int]


class Signature(msgspec.Struct, tag="signature", frozen=True):
    signature: bytes


class Refusal(msgspec.Struct, tag="refusal", frozen=True):
    what: str
    why: str = ""
    hint: str = ""


Answer = Addresses | Signature | Refusal


class Signer:
    """The keys of one organisation and what they may sign. Pure but for the vote log."""

    def __init__(
        self,
        org: PrivateKey,
        validator: PrivateKey | None,
        votes: VoteLog,
        *,
        name: str,
        chain_id: int,
        genesis: Hash32,
    ) -> None:
        self._org, self._validator, self._votes = org, validator, votes
        self._name, self._chain_id, self._genesis = name, chain_id, genesis
        self._decoder = msgspec.msgpack.Decoder(Ask)

    def handle(self, request: bytes) -> bytes:
        """One request to one answer; what may not be signed is a `Refusal`.

        Raises `StoreError` when the vote log cannot be written: the process must end and open it again.
        """
        try:
            if len(request) > REQUEST_BYTES_MAX:
                raise SignerRefused("a request to sign is too large", why=f"{len(request)} bytes")
            answer = self._answer(self._decoder.decode(request))
        except StoreError:
            raise
        except ComityError as error:
            answer = Refusal(error.what, error.why, error.hint)
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            answer = Refusal("not a request that the signer knows", str(error))
        return msgspec.msgpack.encode(answer)

    def _answer(self, ask: Ask) -> Answer:
        match ask:
            case AskVote():
                return Signature(
                    self._vote(Vote(Kind(ask.kind), ask.height, ask.round, Hash32(ask.digest), ask.prepared))
                )
            case AskRecord():
                return Signature(self._record(ask.payload))
            case AskTransaction():
                return Signature(self._transaction(ask.payload))
            case AskPeer():
                if len(ask.static) != KEY_BYTES:
                    raise SignerRefused("a static key is 32 bytes", why=f"{len(ask.static)} bytes")
                return Signature(self._org.sign(identity_hash(ask.static, self._genesis)))
            case AskAddresses():
                return Addresses(
                    self._org.address, self._validator.address if self._validator else None, self._votes.floor
                )

    def _vote(self, vote: Vote) -> bytes:
        if self._validator is None:
            raise SignerRefused("this organisation has no validator key", hint="only validators vote")
        if len(vote.digest) != 32 or min(vote.height, vote.round) < 0:
            raise SignerRefused("a vote is malformed")
        self._votes.allow(vote)
        return self._validator.sign(vote.signing_hash(self._chain_id))

    def _record(self, payload: bytes) -> bytes:
        record = records.parse(payload)
        if record.org != self._name:
            raise SignerRefused(f"this signer speaks for {self._name}", why=f"the record is of {record.org}")
        return self._org.sign(signing_hash(payload))

    def _transaction(self, payload: bytes) -> bytes:
        if payload[:1] != bytes([TRANSACTION_TYPE]):
            raise SignerRefused("only EIP-1559 transactions are signed")
        signature = self._org.sign(keccak256(payload))
        # Read back as any node would: only a valid transaction of our chain, by us, leaves this process.
        decoded = transaction.decode(transaction.assemble(payload, signature), chain_id=self._chain_id)
        if decoded.sender != self._org.address:
            raise SignerRefused("the transaction does not decode to our signature")
        return signature


class SignerClient:
    """Asks the signer over a channel. Every method raises `SignerRefused` with its reason, or `ChildGone`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._decoder = msgspec.msgpack.Decoder(Answer)

    async def addresses(self) -> Addresses:
        answer = await self._ask(AskAddresses())
        if not isinstance(answer, Addresses):
            raise ChildError("the signer gave another answer than was asked for")
        return answer

    async def vote(self, vote: Vote) -> bytes:
        """65 bytes over the vote's signing hash; it is on disk that we voted so."""
        return await self._sign(AskVote(int(vote.kind), vote.height, vote.round, vote.digest, vote.prepared))

    async def record(self, payload: bytes) -> bytes:
        """65 bytes over a record's payload: the signature of its envelope."""
        return await self._sign(AskRecord(payload))

    async def transaction(self, payload: bytes) -> bytes:
        """65 bytes over an unsigned EIP-1559 payload (`transaction.signing_payload`), for `transaction.assemble`."""
        return await self._sign(AskTransaction(payload))

    async def peer(self, static: bytes) -> bytes:
        """The signature that binds our X25519 static public key to the organisation and the network."""
        return await self._sign(AskPeer(static))

    async def _sign(self, ask: Ask) -> bytes:
        answer = await self._ask(ask)
        if not isinstance(answer, Signature):
            raise ChildError("the signer gave another answer than was asked for")
        return answer.signature

    async def _ask(self, ask: Ask) -> Answer:
        answer: Answer = self._decoder.decode(await self._channel.request(msgspec.msgpack.encode(ask)))
        if isinstance(answer, Refusal):
            raise SignerRefused(answer.what, why=answer.why, hint=answer.hint)
        return answer


# ── The process ──────────────────────────────────────────────────────────────────────────────────────────────────────
def arguments(
    keys: Path, log: Path, *, org: str, chain_id: int, genesis: Hash32, vote_from: int = 0, channel: str = "{fd}"
) -> tuple[str, ...]:
    """The command line of the signer process, for `children.Child`."""
    where = ("--keys", str(keys), "--log", str(log), "--socket", channel)
    network = ("--org", org, "--chain-id", str(chain_id), "--genesis", genesis.hex(), "--vote-from", str(vote_from))
    return ("-m", "comity.node.signer", *where, *network)


def main(argv: list[str] | None = None) -> int:
    """`python -m comity.node.signer`: serve an inherited socket (a number) or a Unix socket (a path), one client at a time."""
    bind_to_parent()
    parser = argparse.ArgumentParser(prog="comity.node.signer", description=__doc__)
    for name in ("--keys", "--log"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--socket", "--org", "--genesis"):
        parser.add_argument(name, required=True)
    parser.add_argument("--chain-id", type=int, required=True)
    parser.add_argument("--vote-from", type=int, default=0)
    options = parser.parse_args(argv)
    try:
        options.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with Log.open(options.log) as log:  # locked: two signers on one log could contradict each other
            votes = VoteLog(log)
            votes.raise_floor(options.vote_from)
            signer = Signer(
                load_key(options.keys / "org.key"),
                load_key(options.keys / "validator.key") if (options.keys / "validator.key").exists() else None,
                votes,
                name=options.org,
                chain_id=options.chain_id,
                genesis=Hash32(bytes.fromhex(options.genesis)),
            )
            listen(options.socket, signer.handle)
    except ComityError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def load_key(path: Path) -> PrivateKey:
    """A private key from its file: 32 bytes in hex, readable by its owner only. Raises `ChildError`, never showing the key."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ChildError(f"{path.name} can be read by others", hint=f"chmod 600 {path}")
    try:
        return PrivateKey.from_bytes(bytes.fromhex(path.read_text("ascii").strip()))
    except (ValueError, ComityError):
        raise ChildError(f"{path.name} is not a key", why="32 bytes in hex are wanted") from None


def listen(where: str, handle: Callable[[bytes], bytes]) -> None:
    """Serve an inherited connected socket until it closes, or a Unix socket at a path until killed."""
    if where.isdigit():
        with inherited(int(where)) as connection:
            serve(connection, handle, bytes_max=REQUEST_BYTES_MAX)
        return
    path = Path(where)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.umask(0o177)
        try:
            listener.bind(where)
        finally:
            os.umask(before)
        listener.listen(1)
        while True:
            connection, _ = listener.accept()
            with connection:
                serve(connection, handle, bytes_max=REQUEST_BYTES_MAX)


if __name__ == "__main__":
    sys.exit(main())
