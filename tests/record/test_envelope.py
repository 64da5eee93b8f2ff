"""DSSE envelopes: the protocol's own example, one byte form, and no signature but the record's."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.record import canonical
from comity.record.envelope import ENVELOPE_BYTES_MAX, PAYLOAD_TYPE, Envelope, pae, signing_hash
from comity.record.errors import BadSignature, ComityError, MalformedRecord
from comity.record.keys import PrivateKey, to_hex
from comity.record.record import PAYLOAD_BYTES_MAX, Record, digest
from support.examples import ORG, SPECS

KEY = PrivateKey.from_seed("test")
OTHER = PrivateKey.from_seed("other")
RECORD = Record.make(SPECS["vote"][0], ORG, SPECS["vote"][1])
ENVELOPE = Envelope.sign(RECORD, KEY)


def test_pae_of_the_protocol() -> None:
    """secure-systems-lab/dsse protocol.md, and in bytes and not characters."""
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", "é".encode()) == b"DSSEv1 2 \xc3\xa9 2 \xc3\xa9"
    assert pae("", b"") == b"DSSEv1 0  0 "


def test_round_trip() -> None:
    decoded = Envelope.decode(ENVELOPE.encode())
    assert decoded == ENVELOPE
    assert decoded.record() == RECORD
    assert decoded.signer() == KEY.address
    assert decoded.digest == digest(RECORD)


def test_the_json_is_dsse() -> None:
    value = json.loads(ENVELOPE.encode())
    assert value["payloadType"] == "application/vnd.in-toto+json" == PAYLOAD_TYPE
    assert base64.b64decode(value["payload"]) == ENVELOPE.payload
    assert value["signatures"] == [{"keyid": to_hex(KEY.address), "sig": base64.b64encode(ENVELOPE.signature).decode()}]


def test_the_signature_covers_the_type() -> None:
    plain = KEY.sign(bytes.fromhex(digest(RECORD)))
    assert Envelope(ENVELOPE.payload, plain).signer() != KEY.address


def _with(**members: Any) -> bytes:
    return canonical.encode({**json.loads(ENVELOPE.encode()), **members})


SIGNATURE = json.loads(ENVELOPE.encode())["signatures"][0]


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"[]",
        _with(extra=1),
        _with(signatures=[]),
        _with(signatures=[SIGNATURE, SIGNATURE]),
        _with(signatures=[{**SIGNATURE, "cert": "x"}]),
        _with(signatures=[{"sig": SIGNATURE["sig"]}]),
        _with(payloadType="application/json"),
        _with(payload="*"),
        _with(payload="é"),
        _with(payload=json.loads(ENVELOPE.encode())["payload"].rstrip("=") + "===="),
        _with(payload=7),
        b" " + ENVELOPE.encode(),
        json.dumps(json.loads(ENVELOPE.encode()), indent=1).encode(),
    ],
    ids=lambda data: data[:40].decode("latin-1"),
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(MalformedRecord):
        Envelope.decode(data)


@pytest.mark.parametrize(
    "signature",
    [
        {**SIGNATURE, "keyid": to_hex(OTHER.address)},
        {**SIGNATURE, "keyid": ""},
        {**SIGNATURE, "sig": ""},
        {**SIGNATURE, "sig": base64.b64encode(bytes(65)).decode()},
        {**SIGNATURE, "sig": base64.b64encode(Envelope.sign(RECORD, OTHER).signature).decode()},
    ],
)
def test_wrong_signatures(signature: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        Envelope.decode(_with(signatures=[signature]))


def test_base64_has_one_form() -> None:
    """The unused bits of a last base64 digit could hide bits: then the bytes differ and the digest does not."""
    payload = json.loads(ENVELOPE.encode())["payload"]
    for pad in range(3):
        envelope = Envelope(b"x" * (3 + pad), KEY.sign(signing_hash(b"x" * (3 + pad))))
        text = json.loads(envelope.encode())["payload"]
        if text.endswith("="):
            at = len(text.rstrip("=")) - 1
            twin = text[:at] + chr(ord(text[at]) + 1) + text[at + 1 :]
            assert base64.b64decode(twin) == envelope.payload
            value = {**json.loads(envelope.encode()), "payload": twin}
            with pytest.raises(MalformedRecord):
                Envelope.decode(canonical.encode(value))
    assert payload


def test_limits() -> None:
    largest = Envelope(b"x" * PAYLOAD_BYTES_MAX, KEY.sign(signing_hash(b"x" * PAYLOAD_BYTES_MAX)))
    assert len(largest.encode()) <= ENVELOPE_BYTES_MAX
    assert Envelope.decode(largest.encode()) == largest
    with pytest.raises(MalformedRecord):
        Envelope(b"x" * (PAYLOAD_BYTES_MAX + 1), bytes(65)).encode()
    with pytest.raises(MalformedRecord, match="too large"):
        Envelope.decode(b" " * (ENVELOPE_BYTES_MAX + 1))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ComityError):
        Envelope.decode(data)


@given(st.integers(0, len(ENVELOPE.encode()) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_refused(at: int, mask: int) -> None:
    """Each byte is bound: by the signature, by the key id, or by the one form."""
    data = bytearray(ENVELOPE.encode())
    data[at] ^= mask
    with pytest.raises(ComityError):
        Envelope.decode(bytes(data))
