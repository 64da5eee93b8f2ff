"""What a bundle proves: sealed headers, and the transactions, receipts, events and records in their blocks.

Each thing is read once, checked to the genesis, and remembered. Nothing here knows what it is evidence of: see `checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from comity.ledger import anchoring, contracts, light, transaction, trie
from comity.ledger.block import decode_header, decode_receipt, decode_seals, header_hash
from comity.ledger.contracts import Call, Event
from comity.ledger.errors import BadEvidence
from comity.ledger.evidence.bundle import (
    BUNDLE_BYTES_MAX,
    FILES_COUNT_MAX,
    GENESIS,
    blob_name,
    decode_json,
    event_name,
    header_name,
    record_name,
)
from comity.ledger.genesis import Genesis
from comity.ledger.rlp import encode_uint
from comity.ledger.types import ZERO_ADDRESS, Header, ValidatorSet
from comity.record import canonical
from comity.record.digest import sha256, to_hash32
from comity.record.record import Record
from comity.record.types import Address, Digest, Hash32, short

_T = TypeVar("_T")


class _HeaderFile(Struct, frozen=True, forbid_unknown_fields=True):
    header: str
    seals: str


class _ProofFile(Struct, frozen=True, forbid_unknown_fields=True):
    height: int
    index: int
    envelope: dict[str, Any] | None
    transaction: list[str]
    receipt: list[str]


@dataclass(frozen=True, slots=True)
class Fact:
    """A transaction that succeeded in a sealed block."""

    height: int
    index: int
    time: int
    """The block's time, unix seconds."""
    org: str
    call: Call
    events: tuple[Event, ...]
    record: Record | None
    digest: Digest | None

    def event(self, contract: str, name: str) -> Event | None:
        """Its first event of that name."""
        return next((e for e in self.events if (e.contract, e.name) == (contract, name)), None)

    @property
    def order(self) -> tuple[int, int]:
        """Where it stands in the chain."""
        return self.height, self.index


class Facts:
    """A bundle read with suspicion. Every method raises a ComityError when the bundle does not prove what is asked."""

    def __init__(self, files: Mapping[str, bytes], genesis_hash: Hash32) -> None:
        if len(files) > FILES_COUNT_MAX or sum(map(len, files.values())) > BUNDLE_BYTES_MAX:
            raise BadEvidence(
                "the bundle is too large", why=f"at most {FILES_COUNT_MAX} files and {BUNDLE_BYTES_MAX} bytes"
            )
        self._files = files
        self._unread = set(files)
        self._headers: dict[int, Header] = {}
        self._facts: dict[str, Fact] = {}
        self.seals_min = 0
        """The fewest seals that any header so far had."""
        self.genesis = self._read_genesis(genesis_hash)
        self.members: dict[str, Address] = {m.name: m.org for m in self.genesis.members}
        self._validators = [(0, m.name, m.validator) for m in self.genesis.members if m.validator is not None]
        """(height of admission, member, validator), ascending."""
        self._names = {address: name for name, address in self.members.items()}

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def read(self, name: str) -> bytes:
        """A file's bytes."""
        if name not in self._files:
            raise BadEvidence(f"the bundle lacks {name}")
        self._unread.discard(name)
        return self._files[name]

    def has(self, name: str) -> bool:
        return name in self._files

    @property
    def unread(self) -> list[str]:
        """Files that proved nothing so far."""
        return sorted(self._unread)

    def blob(self, digest: Digest) -> bytes | None:
        """A blob, which must be what its name says; None when it is not enclosed."""
        name = blob_name(digest)
        if name not in self._files:
            return None
        data = self.read(name)
        found = sha256(data)
        if found != digest:
            raise BadEvidence(f"the blob's digest is {short(found)}…, the record says {short(digest)}…")
        return data

    # ── the chain ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _read_genesis(self, genesis_hash: Hash32) -> Genesis:
        document = self.read(GENESIS)
        header, seals = self._header_file(0)
        if header_hash(header) != genesis_hash:
            found, asked = header_hash(header).hex(), genesis_hash.hex()
            raise BadEvidence("block 0 is another", why=f"its hash is {short(found)}…, asked for {short(asked)}…")
        if header.mix != to_hash32(sha256(document)):
            raise BadEvidence("the genesis document is not the one that block 0 names")
        if header.height != 0 or decode_seals(seals).signatures or decode_seals(seals).round:
            raise BadEvidence("block 0 has height 0 and no seals")
        self._headers[0] = header
        return Genesis.decode(document)

    def _header_file(self, height: int) -> tuple[Header, bytes]:
        file = _convert(decode_json(self.read(header_name(height))), _HeaderFile)
        return decode_header(_hex(file.header)), _hex(file.seals)

    def validating(self, height: int) -> set[str]:
        """Members whose validators counted in the block at `height`: an admission counts from the next block on."""
        return {name for since, name, _ in self._validators if since < height}

    def header(self, height: int) -> Header:
        """A header that a quorum of the validators sealed."""
        if height not in self._headers:
            header, encoded = self._header_file(height)
            if header.height != height:
                raise BadEvidence(f"the header of block {height} is that of block {header.height}")
            current = ValidatorSet(tuple(sorted(v for since, _, v in self._validators if since < height)))
            signers = light.verify_seals(self.genesis.chain_id, header, decode_seals(encoded), current)
            self.seals_min = min(self.seals_min or len(signers), len(signers))
            self._headers[height] = header
        return self._headers[height]

    def record(self, digest: Digest) -> Fact:
        """The anchored record of that digest."""
        fact = self._fact(record_name(digest))
        if fact.digest != digest:
            raise BadEvidence(f"the transaction does not anchor {short(digest)}…")
        return fact

    def event(self, place: str) -> Fact:
        """The transaction at `height-index`."""
        fact = self._fact(event_name(place))
        if f"{fact.height}-{fact.index}" != place:
            raise BadEvidence(f"the transaction is not the one at {place}")
        return fact

    def _fact(self, name: str) -> Fact:
        if name not in self._facts:
            self._facts[name] = self._prove(_convert(decode_json(self.read(name)), _ProofFile))
        return self._facts[name]

    def _prove(self, file: _ProofFile) -> Fact:
        header = self.header(file.height)
        key = encode_uint(file.index) if file.index >= 0 else b""
        raw = trie.verify_proof(header.transactions_root, key, [_hex(node) for node in file.transaction])
        encoded = trie.verify_proof(header.receipts_root, key, [_hex(node) for node in file.receipt])
        if raw is None or encoded is None:
            raise BadEvidence(f"block {file.height} has no transaction {file.index}")
        tx, receipt = transaction.decode(raw, chain_id=self.genesis.chain_id), decode_receipt(encoded)
        if not receipt.succeeded:
            raise BadEvidence(f"transaction {file.index} of block {file.height} failed")
        call = anchoring.check(tx, self.members)
        if call is None:
            raise BadEvidence(f"transaction {file.index} of block {file.height} is to no system contract")
        events = tuple(e for e in map(contracts.decode_log, receipt.logs) if e is not None)
        envelope = anchoring.envelope_in(call)
        shown = None if file.envelope is None else canonical.encode(file.envelope)
        if shown != (None if envelope is None else envelope.encode()):
            raise BadEvidence("the record shown is not the one in the transaction")
        org = self._names.get(tx.sender, "0x" + tx.sender.hex())
        if envelope is None:
            return Fact(file.height, file.index, header.timestamp, org, call, events, None, None)
        fact = Fact(file.height, file.index, header.timestamp, org, call, events, envelope.record(), envelope.digest)
        anchored = fact.event("Records", "Anchored")
        if (
            anchored is None
            or anchored.arguments["digest"] != to_hash32(envelope.digest)
            or anchored.arguments["org"] != tx.sender
        ):
            raise BadEvidence("the receipt does not say that the record was anchored")
        return fact

    def admit(self, place: str) -> None:
        """Take in the member that the transaction at `place` admitted. Ask in the order of the chain: validators build on it."""
        fact = self.event(place)
        event = fact.event("Members", "Admitted")
        if event is None:
            raise BadEvidence(f"the transaction at {place} admitted nobody")
        if fact.height < self._validators[-1][0]:
            raise BadEvidence("admissions are not in the order of the chain")
        name, org, validator = (
            str(event.arguments["name"]),
            Address(event.arguments["org"]),
            event.arguments["validator"],
        )
        if name in self.members or any(validator == v for _, _, v in self._validators):
            raise BadEvidence(f"{name} is a member already")
        self.members[name], self._names[org] = org, name
        if validator != ZERO_ADDRESS:
            self._validators.append((fact.height, name, Address(validator)))


def _convert(value: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise BadEvidence("a file of the bundle is malformed", why=str(error)) from error


def _hex(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise BadEvidence("a field is not hexadecimal", why=str(error)) from error
    if data.hex() != text:  # upper case, or white space
        raise BadEvidence("a field is not canonical hexadecimal")
    return data
