"""A signed record: a DSSE envelope (secure-systems-lab/dsse, protocol v1.0) with one secp256k1 signature.

Not whether the signer may speak for the organisation: the ledger's Members contract says that.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from comity.record import canonical
from comity.record.digest import sha256
from comity.record.errors import BadSignature, MalformedRecord
from comity.record.keys import SIGNATURE_BYTES, PrivateKey, hash32, recover, to_hex
from comity.record.record import PAYLOAD_BYTES_MAX, Record, parse, statement
from comity.record.types import Address, Digest, Hash32, Json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE_BYTES_MAX = PAYLOAD_BYTES_MAX * 4 // 3 + 512
_DEPTH_MAX = 3


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: `DSSEv1 <len> <type> <len> <payload>`, lengths in decimal bytes."""
    name = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def signing_hash(payload: bytes) -> Hash32:
    """What a record's signature covers: SHA-256 of the PAE."""
    return hash32(pae(PAYLOAD_TYPE, payload))


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and its signature (65 bytes r‖s‖v). Neither is checked until asked: see `record` and `signer`."""

    payload: bytes
    signature: bytes

    @classmethod
    def sign(cls, record: Record, key: PrivateKey) -> Envelope:
        """The record's envelope under a key."""
        payload = statement(record)
        return cls(payload, key.sign(signing_hash(payload)))

    @classmethod
    def decode(cls, data: bytes) -> Envelope:
        """The envelope of its DSSE JSON.

        Raises `MalformedRecord` unless the bytes are those that `encode` gives, and `BadSignature` when the signature
        recovers to no key, or to another than `keyid` names. The payload is not parsed.
        """
        value = canonical.decode(data, bytes_max=ENVELOPE_BYTES_MAX, depth_max=_DEPTH_MAX)
        match value:
            case {
                "payload": str(payload_text),
                "payloadType": str(payload_type),
                "signatures": [{"keyid": str(keyid), "sig": str(signature_text)}],
            }:
                pass
            case _:
                raise MalformedRecord("not a DSSE envelope with one signature")
        if payload_type != PAYLOAD_TYPE:
            raise MalformedRecord("envelope holds no in-toto statement", why=f"payloadType is {payload_type[:64]!r}")
        envelope = cls(_from_base64(payload_text), _from_base64(signature_text))
        signer = to_hex(envelope.signer())
        if keyid != signer:
            raise BadSignature("keyid is not the signer", why=f"keyid {keyid[:64]!r}, signed by {signer}")
        if envelope.encode() != data:
            raise MalformedRecord("not the envelope's one byte form", why="an unknown member, or not canonical JSON")
        return envelope

    @property
    def digest(self) -> Digest:
        """The record's digest: SHA-256 of the payload, whoever signed it."""
        return sha256(self.payload)

    def record(self) -> Record:
        """The payload parsed; `MalformedRecord` when it is none."""
        return parse(self.payload)

    def signer(self) -> Address:
        """The address whose key signed; `BadSignature` when none did."""
        return recover(signing_hash(self.payload), self.signature)

    def encode(self) -> bytes:
        """The DSSE JSON, in canonical form; `keyid` is the signer's address."""
        if len(self.payload) > PAYLOAD_BYTES_MAX or len(self.signature) != SIGNATURE_BYTES:
            raise MalformedRecord("not an envelope of a record", why="payload too large or signature not 65 bytes")
        signature: dict[str, Json] = {"keyid": to_hex(self.signer()), "sig": _to_base64(self.signature)}
        payload = _to_base64(self.payload)
        return canonical.encode({"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": [signature]})


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise MalformedRecord("envelope member is not base64", why=str(error)) from None
