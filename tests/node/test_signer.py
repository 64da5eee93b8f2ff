"""The signer: what it signs, what it refuses, and that death does not make it contradict itself."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import transaction
from comity.ledger.messages import Kind, Vote
from comity.ledger.votelog import VoteLog
from comity.node import frames, signer
from comity.node.channel import Channel
from comity.node.errors import ChildError, ChildGone, SignerRefused
from comity.node.noise import identity_hash
from comity.node.signer import Signer, SignerClient
from comity.record.envelope import Envelope
from comity.record.keys import PrivateKey, recover
from comity.record.record import Record, statement
from comity.record.types import Address, Hash32
from comity.store.errors import StoreError

ORG, VALIDATOR = PrivateKey.from_seed("northfield"), PrivateKey.from_seed("northfield validator")
GENESIS = Hash32(bytes([9]) * 32)
CHAIN_ID = 31337


class Memory:
    """A vote log that forgets nothing while the test lasts."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def append(self, record: bytes) -> None:
        self.entries.append(record)

    def compact(self, entries: Iterable[bytes]) -> None:
        self.entries = list(entries)

    def __iter__(self) -> Iterator[bytes]:
        return iter(list(self.entries))

    def __len__(self) -> int:
        return len(self.entries)


def make(validator: PrivateKey | None = VALIDATOR) -> Signer:
    return Signer(ORG, validator, VoteLog(Memory()), name="northfield", chain_id=CHAIN_ID, genesis=GENESIS)


def ask(target: Signer, question: signer.Ask) -> signer.Answer:
    answer: signer.Answer = msgspec.msgpack.decode(target.handle(msgspec.msgpack.encode(question)), type=signer.Answer)
    return answer


def record(org: str = "northfield") -> Record:
    spec = {"about": "0" * 64, "because": "test"}
    return Record.make("revocation", org, spec)


def block(fill: int) -> Hash32:
    return Hash32(bytes([fill]) * 32)


def test_addresses() -> None:
    assert ask(make(), signer.AskAddresses()) == signer.Addresses(ORG.address, VALIDATOR.address, (0, 0))
    assert ask(make(None), signer.AskAddresses()) == signer.Addresses(ORG.address, None, (0, 0))


def test_votes_are_by_the_validator_and_never_contradict() -> None:
    target = make()
    vote = Vote(Kind.PREPARE, 5, 0, block(1))
    first = ask(target, signer.AskVote(2, 5, 0, block(1), -1))
    assert isinstance(first, signer.Signature)
    assert recover(vote.signing_hash(CHAIN_ID), first.signature) == VALIDATOR.address
    assert ask(target, signer.AskVote(2, 5, 0, block(1), -1)) == first
    refused = ask(target, signer.AskVote(2, 5, 0, block(2), -1))
    assert isinstance(refused, signer.Refusal)
    assert "refused to sign PREPARE" in refused.what
    assert isinstance(ask(target, signer.AskVote(2, 4, 0, block(1), -1)), signer.Refusal)


def test_a_log_that_cannot_be_written_ends_the_process() -> None:
    """A full disk is no refusal: the process ends and is started again, and the node asks again."""

    class Full(Memory):
        def append(self, record: bytes) -> None:
            raise StoreError("no space")

    target = Signer(ORG, VALIDATOR, VoteLog(Full()), name="northfield", chain_id=CHAIN_ID, genesis=GENESIS)
    with pytest.raises(StoreError):
        ask(target, signer.AskVote(2, 5, 0, block(1), -1))


def test_a_follower_does_not_vote() -> None:
    assert isinstance(ask(make(None), signer.AskVote(2, 5, 0, block(1), -1)), signer.Refusal)


def test_records_of_our_organisation_only() -> None:
    payload = statement(record())
    answer = ask(make(), signer.AskRecord(payload))
    assert isinstance(answer, signer.Signature)
    assert Envelope(payload, answer.signature).signer() == ORG.address
    other = ask(make(), signer.AskRecord(statement(record("riverside"))))
    assert isinstance(other, signer.Refusal)
    assert "riverside" in other.why
    for junk in (b"", b"{}", payload[:-1], payload + b" ", b"\xff" * 100):
        assert isinstance(ask(make(), signer.AskRecord(junk)), signer.Refusal)


def payload(**changes: Any) -> bytes:
    fields: dict[str, Any] = {"chain_id": CHAIN_ID, "nonce": 0, "to": Address(bytes(20)), "gas": 21_000} | changes
    return transaction.signing_payload(**fields)


def test_transactions_for_our_chain_only() -> None:
    answer = ask(make(), signer.AskTransaction(payload()))
    assert isinstance(answer, signer.Signature)
    raw = transaction.assemble(payload(), answer.signature)
    assert transaction.decode(raw, chain_id=CHAIN_ID).sender == ORG.address


@pytest.mark.parametrize(
    "unsigned",
    [
        payload(chain_id=1),
        payload(kind=0),
        payload(kind=1),
        payload(gas=20_000),
        payload(gas=2**25),
        payload()[:-1],
        payload() + b"\0",
        b"",
        b"\x02",
        b"\x03" + payload()[1:],
        b"\x19\x01" + bytes(64),
    ],
)
def test_other_transactions_are_refused(unsigned: bytes) -> None:
    assert isinstance(ask(make(), signer.AskTransaction(unsigned)), signer.Refusal)


def test_vouches_for_a_static_key() -> None:
    answer = ask(make(), signer.AskPeer(bytes(range(32))))
    assert isinstance(answer, signer.Signature)
    assert recover(identity_hash(bytes(range(32)), GENESIS), answer.signature) == ORG.address
    assert isinstance(ask(make(), signer.AskPeer(bytes(31))), signer.Refusal)


_TARGET = make()


@given(st.binary(max_size=200))
def test_random_requests_are_refused(junk: bytes) -> None:
    assert isinstance(msgspec.msgpack.decode(_TARGET.handle(junk), type=signer.Answer), signer.Refusal)


@given(
    kind=st.integers(-1, 9),
    height=st.integers(-(2**63), 2**64 - 1),
    round_=st.integers(-(2**63), 2**64 - 1),
    digest=st.binary(max_size=40),
    prepared=st.integers(-5, 2**40),
)
def test_random_votes_never_break_it(kind: int, height: int, round_: int, digest: bytes, prepared: int) -> None:
    answer = ask(make(), signer.AskVote(kind, height, round_, digest, prepared))
    if isinstance(answer, signer.Signature):
        assert kind in (1, 2, 3, 4)
        assert len(digest) == 32


def test_too_large_a_request() -> None:
    answer = msgspec.msgpack.decode(make().handle(bytes(signer.REQUEST_BYTES_MAX + 1)), type=signer.Answer)
    assert isinstance(answer, signer.Refusal)


# ── The process ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    for name, key in (("org", ORG), ("validator", VALIDATOR)):
        path = folder / f"{name}.key"
        path.touch(mode=0o600)
        path.write_text(key.to_bytes().hex() + "\n")
    return folder


class Running:
    """A real signer process on a real vote log, spoken to over its inherited socket."""

    def __init__(self, keys: Path) -> None:
        self.socket, theirs = socket.socketpair()
        line = signer.arguments(
            keys,
            keys.parent / "votes.log",
            org="northfield",
            chain_id=CHAIN_ID,
            genesis=GENESIS,
            channel=str(theirs.fileno()),
        )
        self.process = subprocess.Popen(
            [sys.executable, *line], pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE, text=True
        )
        theirs.close()

    def ask(self, question: signer.Ask) -> signer.Answer:
        self.send(question)
        answer: signer.Answer = msgspec.msgpack.decode(frames.receive(self.socket), type=signer.Answer)
        return answer

    def send(self, question: signer.Ask) -> None:
        self.socket.sendall(frames.pack(msgspec.msgpack.encode(question)))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> int:
        self.socket.close()
        code = self.process.wait(10)
        if self.process.stderr:
            self.process.stderr.close()
        return code


@pytest.mark.net
def test_killed_between_votes_it_never_contradicts_itself(keys: Path) -> None:
    """SIGKILL at a random moment after asking for a vote; whatever was answered binds the next process."""
    signed: dict[tuple[int, int], Hash32] = {}
    for attempt in range(4):
        running = Running(keys)
        answer = running.ask(signer.AskAddresses())
        assert isinstance(answer, signer.Addresses)
        for (height, round_), digest in signed.items():
            other = running.ask(signer.AskVote(3, height, round_, block(200), -1))
            assert isinstance(other, signer.Refusal), (height, round_, digest)
        height = answer.floor[0] + 1
        for kind in (1, 2, 3):
            found = running.ask(signer.AskVote(kind, height, 0, block(attempt), -1))
            assert isinstance(found, signer.Signature)
            signed[(height, 0)] = block(attempt)
        running.send(signer.AskVote(1, height + 1, 0, block(attempt), -1))
        time.sleep(0.002 * attempt)
        running.kill()
    last = Running(keys)
    answer = last.ask(signer.AskAddresses())
    assert isinstance(answer, signer.Addresses)
    assert answer.floor >= max(signed)
    assert last.end() == 0


@pytest.mark.net
def test_a_torn_tail_does_not_stop_it(keys: Path) -> None:
    running = Running(keys)
    running.ask(signer.AskVote(2, 7, 1, block(1), -1))
    running.kill()
    with (keys.parent / "votes.log").open("ab") as log:
        log.write(b"CWL1\0\0")
    again = Running(keys)
    answer = again.ask(signer.AskAddresses())
    assert isinstance(answer, signer.Addresses)
    assert answer.floor == (7, 1)
    assert again.end() == 0


@pytest.mark.net
def test_two_signers_never_share_a_log(keys: Path) -> None:
    first = Running(keys)
    first.ask(signer.AskAddresses())
    second = Running(keys)
    assert second.process.wait(10) != 0
    assert second.process.stderr
    assert "votes.log" in second.process.stderr.read()
    second.end()
    assert first.end() == 0


@pytest.mark.net
def test_keys_that_others_can_read_are_refused(keys: Path) -> None:
    (keys / "org.key").chmod(0o644)
    running = Running(keys)
    assert running.process.wait(10) != 0
    assert running.process.stderr
    words = running.process.stderr.read()
    assert "can be read by others" in words
    assert ORG.to_bytes().hex() not in words
    running.end()


@pytest.mark.parametrize("text", ["", "zz", "00" * 32, "11" * 31])
def test_key_files_are_checked(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.key"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(ChildError, match="not a key"):
        signer.load_key(path)


@pytest.mark.net
def test_client_over_a_path(keys: Path, tmp_path: Path) -> None:
    where = Path(os.environ["COMITY_HOME"])
    where.mkdir(parents=True, exist_ok=True)
    path = where / "s.sock"
    line = signer.arguments(
        keys, tmp_path / "v.log", org="northfield", chain_id=CHAIN_ID, genesis=GENESIS, channel=str(path)
    )
    process = subprocess.Popen([sys.executable, *line])

    async def scene() -> None:
        connection = socket.socket(socket.AF_UNIX)
        for _ in range(500):
            try:
                connection.connect(str(path))
                break
            except OSError:
                await asyncio.sleep(0.02)
        assert path.stat().st_mode & 0o777 == 0o600
        channel = Channel("signer")
        client = SignerClient(channel)
        with pytest.raises(ChildGone):
            await client.addresses()
        await channel.attach(connection)
        assert (await client.addresses()).org == ORG.address
        envelope = Envelope(statement(record()), await client.record(statement(record())))
        assert envelope.signer() == ORG.address
        raw = transaction.assemble(payload(nonce=3), await client.transaction(payload(nonce=3)))
        assert transaction.decode(raw, chain_id=CHAIN_ID).nonce == 3
        assert recover(identity_hash(bytes(32), GENESIS), await client.peer(bytes(32))) == ORG.address
        vote = Vote(Kind.COMMIT, 1, 0, block(1))
        assert recover(vote.signing_hash(CHAIN_ID), await client.vote(vote)) == VALIDATOR.address
        with pytest.raises(SignerRefused, match="COMMIT"):
            await client.vote(Vote(Kind.COMMIT, 1, 0, block(2)))
        process.kill()
        with pytest.raises(ChildGone):
            await client.addresses()
        await channel.detach()

    try:
        asyncio.run(scene())
    finally:
        process.kill()
        process.wait(10)
