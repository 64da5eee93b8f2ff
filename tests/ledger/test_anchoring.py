"""A transaction says what its record says, or it is refused: every kind, and every way to lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import anchoring, contracts
from comity.ledger.contracts import ADDRESS, calldata
from comity.ledger.errors import ContractError, InvalidAnchor
from comity.ledger.types import Transaction
from comity.record.digest import sha256, to_hash32
from comity.record.envelope import Envelope
from comity.record.errors import ComityError
from comity.record.keys import PrivateKey
from comity.record.record import Record
from comity.record.types import Address, Hash32, Wei
from support.consortium import ORGS

KEYS = {name: PrivateKey.from_seed(f"anchoring {name}") for name in ORGS}
MEMBERS = {name: key.address for name, key in KEYS.items()}
D = [sha256(b"%d" % i) for i in range(9)]
TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1]}
SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "Records.anchor dataset": ("dataset", {
        "name": "breast", "version": 1, "commitment": D[0], "bytes": 1, "rows": 1, "columns": [], "purposes": ["diagnosis"],
        "licence": "CC0", "consent": "broad"}),
    "Records.anchor task": ("task", {
        "code": D[0], "inputs": [D[1]], "purpose": "diagnosis", "environment": "python", "arguments": {}, "nonce": 1,
        "limits": {"cpu_s": 1, "wall_s": 1, "memory_bytes": 1, "output_bytes": 1}}),
    "Records.anchor app": ("app", {"name": "notes", "version": 1, "manifest": D[0]}),
    "Records.anchor offer": ("offer", {"resource": "gpu", "unit": "hour", "price_wei": "5", "until": 9}),
    "Records.anchor receipt": ("receipt", {"of": "deployment", "service": D[0], "model": D[1], "artefact": D[2]}),
    "Records.anchor evaluation": ("evaluation", {
        "proposal": D[0], "model": D[1], "dataset": D[2], "rows": 1, "metrics": {"accuracy": "0.9"}, "artefact": D[3]}),
    "Grants.grant": ("grant", {"dataset": D[0], "grantee": "lakeside", "purposes": ["diagnosis", "care"], "until": 99}),
    "Grants.revoke": ("revocation", {"about": D[0], "because": ""}),
    "Studies.propose": ("study", {
        "name": "ss", "code": D[0], "code_lines": 1, "initial": D[1], "datasets": [D[2], D[3]], "roster": list(ORGS[:3]),
        "purpose": "diagnosis", "rule": {"name": "mean", "f": 0}, "rounds": 3, "quorum": 2, "round_timeout_s": 60,
        "privacy": "none", "seed": 1}),
    "Studies.vote": ("vote", {"on": "study", "about": D[0], "choice": "approve", "by": "Ada", "because": ""}),
    "Studies.aggregate": ("round", {
        "study": D[0], "index": 1, "attempt": 0, "base": D[1], "aggregate": D[2], "refused": [], "metrics": {},
        "included": [{"org": "lakeside", "update": D[3], "weight": 5}]}),
    "Studies.conclude": ("model", {
        "name": "mm", "version": 1, "study": D[0], "round": D[1], "weights": D[2], "artefact": D[3], "format": "onnx",
        "inputs": [TENSOR], "outputs": [TENSOR]}),
    "Governance.propose": ("proposal", {"action": "deploy", "service": D[0], "model": D[1], "previous": D[2], "nonce": 0}),
    "Governance.admitMember": ("proposal", {"action": "admit", "member": {
        "name": "new", "org": "0x" + "11" * 20, "validator": "0x" + "22" * 20, "endpoint": "h:1"}, "nonce": 0}),
    "Governance.vote": ("vote", {"on": "proposal", "about": D[0], "choice": "refuse", "by": "Ada", "because": "no"}),
    "Services.defineService": ("service", {"name": "triage", "approvals": 3, "time_lock_s": 5}),
    "Services.receipts": ("receipt", {"of": "predictions", "service": D[0], "model": D[1], "root": D[2], "count": 3, "first": 0}),
}  # fmt: skip


def transaction(to: Address | None, data: bytes, org: str = "northfield") -> Transaction:
    return Transaction(
        2,
        0,
        1 << 20,
        to,
        Wei(0),
        data,
        Wei(0),
        Wei(0),
        (),
        b"",
        Hash32(bytes(32)),
        MEMBERS.get(org, Address(b"\1" * 20)),
    )


def envelope(kind: str, spec: dict[str, Any], org: str = "northfield", signer: str | None = None) -> Envelope:
    return Envelope.sign(Record.make(kind, org, spec), KEYS[signer or org])


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_has_its_one_transaction(name: str) -> None:
    kind, spec = SPECS[name]
    it = envelope(kind, spec)
    to, data = anchoring.transaction_for(it, MEMBERS)
    call = anchoring.check(transaction(to, data), MEMBERS)
    assert call is not None and f"{call.name}.{call.function}" == name.split(maxsplit=1)[0]
    assert anchoring.envelope_in(call) == it


def test_all_entries_are_covered() -> None:
    """Each function that changes anything is an entry, or is refused as a transaction."""
    entries = {tuple(name.split()[0].split(".")) for name in SPECS}
    assert entries == anchoring.RECORD_ENTRIES
    mutating = {key for key, entry in contracts._FUNCTIONS.items() if entry.mutates}
    inner = {("Members", "initialize"), ("Members", "admit"), ("Records", "place"), ("Services", "point")}
    assert mutating == anchoring.RECORD_ENTRIES | anchoring.PLAIN_ENTRIES | inner
    for contract, function in inner:
        entry = contracts._FUNCTIONS[contract, function]
        zeros = {"string": "", "address": bytes(20), "uint64": 0, "bytes": b""}
        arguments = [zeros.get(t, [] if t.endswith("[]") else bytes(32)) for t in entry.types()]
        with pytest.raises(InvalidAnchor, match="no transaction calls"):
            anchoring.check(transaction(ADDRESS[contract], calldata(contract, function, *arguments)), MEMBERS)


def test_arguments_of_calls_that_nobody_may_make_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 founders whose names are one text of 67,000 bytes: as calldata 128 KiB, decoded 260 MB."""
    decoded: list[bytes] = []
    monkeypatch.setattr(anchoring, "decode_call", lambda to, data: decoded.append(data))
    count, text = 2_000, 67_000

    def words(*numbers: int) -> bytes:
        return b"".join(number.to_bytes(32, "big") for number in numbers)

    founder = words(128, 1, 2, 128, text) + bytes(text)
    data = calldata("Members", "initialize", [])[:4] + words(32, count, *[32 * count] * count) + founder
    assert len(data) <= contracts.CALLDATA_BYTES_MAX + 4_096
    with pytest.raises(InvalidAnchor, match=r"no transaction calls Members\.initialize"):
        anchoring.check(transaction(ADDRESS["Members"], data), MEMBERS)
    assert decoded == []


def test_other_transactions_pass_unseen() -> None:
    assert anchoring.check(transaction(None, b"code"), MEMBERS) is None
    assert anchoring.check(transaction(Address(b"\7" * 20), b"anything"), MEMBERS) is None
    plain = calldata("Studies", "attest", bytes(32), 1, bytes(32))
    call = anchoring.check(transaction(ADDRESS["Studies"], plain, "stranger"), MEMBERS)
    assert call is not None and anchoring.envelope_in(call) is None


def not_quite(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return value[::-1] if value[::-1] != value else bytes(b ^ 1 for b in value)


@pytest.mark.parametrize("name", SPECS)
def test_lies_are_refused(name: str) -> None:
    kind, spec = SPECS[name]
    it = envelope(kind, spec)
    to, data = anchoring.transaction_for(it, MEMBERS)

    def refused(tx: Transaction, match: str, members: dict[str, Address] = MEMBERS) -> None:
        with pytest.raises(InvalidAnchor, match=match):
            anchoring.check(tx, members)

    refused(transaction(to, data, "riverside"), "signed by another")
    other = envelope(kind, spec, "riverside", signer="northfield")
    refused(transaction(*anchoring.transaction_for(other, MEMBERS)), "not in the name of its sender")
    refused(transaction(to, data), "not in the name|no member|not a member", {"northfield": Address(b"\1" * 20)})
    call = contracts.decode_call(to, data)

    def resent(**changes: Any) -> Transaction:
        return transaction(to, calldata(call.name, call.function, *(dict(call.arguments) | changes).values()))

    refused(resent(payload=it.payload + b" "), "not a valid record")
    refused(resent(signature=bytes(65)), "not a valid record")
    for argument, value in call.arguments.items():
        if argument in ("payload", "signature"):
            continue
        lie = not_quite(value)
        refused(resent(**{argument: lie}), "says something else")


def test_names_that_are_no_members() -> None:
    kind, spec = SPECS["Grants.grant"]
    with pytest.raises(InvalidAnchor, match="nobody is not a member"):
        anchoring.transaction_for(envelope(kind, spec | {"grantee": "nobody"}), MEMBERS)
    to, data = anchoring.transaction_for(envelope(kind, spec | {"grantee": "*"}), MEMBERS)
    assert contracts.decode_call(to, data).arguments["grantee"] == bytes(20)
    absent = {name: address for name, address in MEMBERS.items() if name != "lakeside"}
    to, data = anchoring.transaction_for(envelope(kind, spec), MEMBERS)
    with pytest.raises(InvalidAnchor, match="lakeside is not a member"):
        anchoring.check(transaction(to, data), absent)


def test_a_record_through_the_wrong_door() -> None:
    it = envelope(*SPECS["Studies.propose"])
    for contract, function, typed in [
        ("Records", "anchor", (contracts.name32("dataset"),)),
        ("Records", "anchor", (contracts.name32("study"),)),
        ("Grants", "revoke", (to_hash32(it.digest),)),
    ]:
        data = calldata(contract, function, *typed, it.payload, it.signature)
        with pytest.raises(InvalidAnchor, match="says something else"):
            anchoring.check(transaction(ADDRESS[contract], data), MEMBERS)


@given(st.sampled_from(sorted(SPECS)), st.data())
def test_one_changed_byte_is_refused(name: str, data: st.DataObject) -> None:
    to, good = anchoring.transaction_for(envelope(*SPECS[name]), MEMBERS)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    with pytest.raises(ComityError):
        anchoring.check(transaction(to, bad), MEMBERS)


@given(st.sampled_from(list(ADDRESS.values())), st.binary(max_size=600))
def test_check_is_total(to: Address, data: bytes) -> None:
    with pytest.raises((ContractError, InvalidAnchor)):
        anchoring.check(transaction(to, data), MEMBERS)


def test_value_objects_are_untouched() -> None:
    tx = transaction(*anchoring.transaction_for(envelope(*SPECS["Studies.vote"]), MEMBERS))
    first = anchoring.check(tx, MEMBERS)
    assert first == anchoring.check(replace(tx), dict(MEMBERS))
