"""From a signed record to the one transaction that anchors it, and back: the rule that a transaction says what its record says.

Not permission: the contracts decide that. Not signing or sending: see `node`. The rule is `check`; why it is a rule of block
validity is in docs/decisions/0008-records-in-block-validity.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comity.ledger.contracts import ADDRESS, NAME_AT, Call, calldata, decode_call, function_of, name32
from comity.ledger.errors import InvalidAnchor
from comity.ledger.types import ZERO_ADDRESS, ZERO_HASH, Transaction
from comity.record import kinds
from comity.record.digest import to_hash32
from comity.record.envelope import Envelope
from comity.record.errors import ComityError
from comity.record.keys import from_hex, to_hex
from comity.record.record import Record
from comity.record.types import Address

Members = Mapping[str, Address]
"""The member registry: an organisation's name -> its address."""

EVERYONE = "*"

RECORD_ENTRIES = frozenset(
    {
        ("Records", "anchor"),
        ("Grants", "grant"),
        ("Grants", "revoke"),
        ("Governance", "propose"),
        ("Governance", "admitMember"),
        ("Governance", "vote"),
        ("Studies", "propose"),
        ("Studies", "vote"),
        ("Studies", "aggregate"),
        ("Studies", "conclude"),
        ("Services", "defineService"),
        ("Services", "receipts"),
    }
)
"""Entries that carry a record: their last two arguments are `payload` and `signature`."""
PLAIN_ENTRIES = frozenset(
    {
        ("Governance", "execute"),
        ("Studies", "commit"),
        ("Studies", "reveal"),
        ("Studies", "close"),
        ("Studies", "attest"),
        ("Studies", "retry"),
    }
)
"""Entries that carry none."""


def transaction_for(envelope: Envelope, members: Members) -> tuple[Address, bytes]:
    """Where to send the record, and the calldata that anchors it.

    Raises MalformedRecord when the payload is no record, InvalidAnchor when it names an organisation that is no member.
    """
    record = envelope.record()
    contract, function, typed = _entry_of(record, members)
    return ADDRESS[contract], calldata(contract, function, *typed, envelope.payload, envelope.signature)


def envelope_in(call: Call) -> Envelope | None:
    """The signed record that a call carries, or None for a call without one. Nothing is checked."""
    if (call.name, call.function) not in RECORD_ENTRIES:
        return None
    return Envelope(call.arguments["payload"], call.arguments["signature"])


def check(transaction: Transaction, members: Members) -> Call | None:
    """The system call of a transaction, or None when it is to no system contract.

    `members` is the registry after the parent block. A pure function of its arguments: every node decides alike.
    Raises ContractError for a call that is malformed, InvalidAnchor for one that no account may make, or whose record is
    malformed, not signed by the sender, not in the name of the sender, or not what the typed arguments say.
    """
    if transaction.to is None or transaction.to not in NAME_AT:
        return None
    # Before its arguments are decoded: offsets that overlap can make 128 KiB of them (`Members.initialize`) cost seconds.
    name, function = function_of(transaction.to, transaction.data)
    if (name, function) not in RECORD_ENTRIES | PLAIN_ENTRIES:
        raise InvalidAnchor(f"no transaction calls {name}.{function}", why="only reads and contracts do")
    call = decode_call(transaction.to, transaction.data)
    envelope = envelope_in(call)
    if envelope is None:
        return call
    what = f"the record in {call.name}.{call.function}"
    try:
        record, signer = envelope.record(), envelope.signer()
    except ComityError as error:
        raise InvalidAnchor(f"{what} is not a valid record", why=str(error)) from error
    if signer != transaction.sender:
        raise InvalidAnchor(f"{what} is signed by another than the sender", why=f"signed by {to_hex(signer)}")
    if members.get(record.org) != transaction.sender:
        raise InvalidAnchor(
            f"{what} is not in the name of its sender", why=f"{record.org} has another address, or is no member"
        )
    if transaction_for(envelope, members) != (transaction.to, transaction.data):
        raise InvalidAnchor(
            f"{what} says something else than the call's arguments", why=f"a {record.kind} is anchored otherwise"
        )
    return call


def address_of(org: str, members: Members) -> Address:
    """A member's address; InvalidAnchor when there is no such member."""
    address = members.get(org)
    if address is None:
        raise InvalidAnchor(f"{org} is not a member", hint="see `comity list members`")
    return address


def _entry_of(record: Record, members: Members) -> tuple[str, str, tuple[Any, ...]]:
    """(contract, function, typed arguments) of a record."""
    spec = record.spec
    match spec:
        case kinds.Grant():
            grantee = ZERO_ADDRESS if spec.grantee == EVERYONE else address_of(spec.grantee, members)
            return "Grants", "grant", (to_hash32(spec.dataset), grantee, _names(spec.purposes), spec.until)
        case kinds.Revocation():
            return "Grants", "revoke", (to_hash32(spec.about),)
        case kinds.Study():
            datasets = [to_hash32(d) for d in spec.datasets]
            roster = [address_of(org, members) for org in spec.roster]
            purpose = name32(spec.purpose)
            return "Studies", "propose", (datasets, purpose, roster, spec.rounds, spec.quorum, spec.round_timeout_s)
        case kinds.Vote():
            contract = "Studies" if spec.on == "study" else "Governance"
            return contract, "vote", (to_hash32(spec.about), spec.choice == "approve")
        case kinds.Round():
            return "Studies", "aggregate", (to_hash32(spec.study), spec.index, spec.attempt, to_hash32(spec.aggregate))
        case kinds.Model():
            return "Studies", "conclude", (to_hash32(spec.study), to_hash32(spec.weights))
        case kinds.Service():
            return "Services", "defineService", (name32(spec.name), spec.approvals, spec.time_lock_s)
        case kinds.PredictionsReceipt():
            typed = (to_hash32(spec.service), to_hash32(spec.model), to_hash32(spec.root), spec.count)
            return "Services", "receipts", typed
        case kinds.Deploy():
            previous = ZERO_HASH if spec.previous is None else to_hash32(spec.previous)
            return "Governance", "propose", (to_hash32(spec.service), to_hash32(spec.model), previous)
        case kinds.Admit():
            member = spec.member
            validator = ZERO_ADDRESS if member.validator is None else from_hex(member.validator)
            return "Governance", "admitMember", (member.name, from_hex(member.org), validator, member.endpoint)
        case _:
            return "Records", "anchor", (name32(record.kind),)


def _names(names: list[str]) -> list[bytes]:
    return [name32(name) for name in names]
