"""Noise against public vectors, and against everything that must break it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from comity.node import noise
from comity.node.errors import HandshakeRefused, PeerError
from comity.node.noise import Cipher, Handshake, Identity, identity_hash
from comity.record.keys import PrivateKey
from comity.record.types import Hash32

# Noise_XX_25519_ChaChaPoly_SHA256, from github.com/flynn/noise, vectors.txt at 06e2f3c6215b158499bd9fc6a0b2f1873806cf0b:
# the keys are those of every vector in that file; payloads and ciphertexts are the XX section's, without and with payloads.
INITIATOR = bytes(range(0x20))
RESPONDER = bytes(range(0x01, 0x21))
INITIATOR_EPHEMERAL = bytes(range(0x20, 0x40))
RESPONDER_EPHEMERAL = bytes(range(0x41, 0x61))
VECTORS = {
    "empty payloads": [
        ("", "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254"),
        (
            "",
            "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d484663414af878d3e46a2f58911a816d6e8346d4ea17a6f2a0bb4"
            "ef4ed56c133cff4560a34e36ea82109f26cf2e5a5caf992b608d55c747f615e5a3425a7a19eefb8f",
        ),
        (
            "",
            "87f864c11ba449f46a0a4f4e2eacbb7b0457784f4fca1937f572c93603e9c4d97e5ea11b16f3968710b23a3be3202dc1b5e1ce3c96334749"
            "1e74f5c0768a9b42",
        ),
        ("79656c6c6f777375626d6172696e65", "a52ef02ba60e12696d1d6b9ef4245c88fca757b6134ad6e76b56e310a6adf6"),
        ("7375626d6172696e6579656c6c6f77", "2445aa438ebd649281c636cc7269ca82f1d9023d72520943aeabf909cdf521"),
    ],
    "payloads": [
        (
            "746573745f6d73675f30",
            "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254746573745f6d73675f30",
        ),
        (
            "746573745f6d73675f31",
            "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d484663414af878d3e46a2f58911a816d6e8346d4ea17a6f2a0bb4"
            "ef4ed56c133cff4572e7a2ba5123ac30618b3d205f5c2d17f50cbca216483ac56bcc78e33bf520303278db641e5e731b2e3a",
        ),
        (
            "746573745f6d73675f32",
            "87f864c11ba449f46a0a4f4e2eacbb7b0457784f4fca1937f572c93603e9c4d9f27e318e43ba630594c4d08eeb3b36d97c7377a2f4f9144b"
            "2f0c8095ad92140505b2ab53eff244b14138",
        ),
        ("79656c6c6f777375626d6172696e65", "a52ef02ba60e12696d1d6b9ef4245c88fca757b6134ad6e76b56e310a6adf6"),
        ("7375626d6172696e6579656c6c6f77", "2445aa438ebd649281c636cc7269ca82f1d9023d72520943aeabf909cdf521"),
    ],
}


def pair(hash_name: str = "SHA256", prologues: tuple[bytes, bytes] = (b"", b"")) -> tuple[Handshake, Handshake]:
    return (
        Handshake(
            initiator=True, static=INITIATOR, ephemeral=INITIATOR_EPHEMERAL, prologue=prologues[0], hash_name=hash_name
        ),
        Handshake(
            initiator=False, static=RESPONDER, ephemeral=RESPONDER_EPHEMERAL, prologue=prologues[1], hash_name=hash_name
        ),
    )


def shake(one: Handshake, other: Handshake) -> tuple[tuple[Cipher, Cipher], tuple[Cipher, Cipher]]:
    other.read(one.write())
    one.read(other.write())
    other.read(one.write())
    return one.split(), other.split()


@pytest.mark.parametrize("name", VECTORS)
def test_public_vectors(name: str) -> None:
    one, other = pair()
    steps = [(bytes.fromhex(payload), bytes.fromhex(wire)) for payload, wire in VECTORS[name]]
    for (payload, wire), (writer, reader) in zip(steps[:3], [(one, other), (other, one), (one, other)], strict=True):
        assert writer.write(payload) == wire
        assert reader.read(wire) == payload
    assert one.hash == other.hash
    (one_send, one_receive), (other_send, other_receive) = one.split(), other.split()
    assert one_send.encrypt(steps[3][0]) == steps[3][1]
    assert other_receive.decrypt(steps[3][1]) == steps[3][0]
    assert other_send.encrypt(steps[4][0]) == steps[4][1]
    assert one_receive.decrypt(steps[4][1]) == steps[4][0]


@pytest.mark.parametrize("hash_name", ["SHA256", "BLAKE2s"])
def test_both_ends_know_each_other(hash_name: str) -> None:
    one, other = pair(hash_name)
    (send, _), (_, receive) = shake(one, other)
    assert one.remote_static == noise.public_key(RESPONDER)
    assert other.remote_static == noise.public_key(INITIATOR)
    assert receive.decrypt(send.encrypt(b"after")) == b"after"


def test_another_prologue_does_not_connect() -> None:
    one, other = pair(prologues=(b"v1", b"v2"))
    other.read(one.write())
    with pytest.raises(PeerError):
        one.read(other.write())


@given(st.integers(0, 2), st.data())
def test_any_flipped_bit_of_a_handshake_is_noticed(step: int, data: st.DataObject) -> None:
    ends = pair()
    for current in range(3):
        writer, reader = ends[current % 2], ends[1 - current % 2]
        message = bytearray(writer.write(b"payload"))
        if current == step:
            position = data.draw(st.integers(0, len(message) - 1))
            message[position] ^= 1 << data.draw(st.integers(0, 7))
            try:
                reader.read(bytes(message))
            except PeerError:
                return
            if step == 0:  # the first message is in the clear: what was changed shows in the second
                with pytest.raises(PeerError):
                    ends[0].read(ends[1].write())
                return
            pytest.fail("a changed message was taken")
        reader.read(bytes(message))


@given(st.integers(0, 2), st.binary(max_size=300))
def test_random_bytes_for_a_handshake_message(step: int, junk: bytes) -> None:
    ends = pair()
    for current in range(step):
        ends[1 - current % 2].read(ends[current % 2].write())
    reader = ends[1 - step % 2]
    if step == 0 and len(junk) >= 32:
        return  # any 32 bytes are a public key
    with pytest.raises(PeerError):
        reader.read(junk)
    with pytest.raises(HandshakeRefused, match="out of turn"):
        reader.read(junk)


def test_low_order_point_is_refused() -> None:
    _, other = pair()
    other.read(bytes(32))
    with pytest.raises(HandshakeRefused, match="low order"):
        other.write()


def test_turns_and_limits() -> None:
    one, other = pair()
    with pytest.raises(HandshakeRefused, match="turn"):
        other.write()
    with pytest.raises(HandshakeRefused, match="not finished"):
        one.split()
    with pytest.raises(HandshakeRefused, match="not known"):
        _ = other.remote_static
    with pytest.raises(HandshakeRefused, match="too large"):
        other.read(bytes(noise.MESSAGE_BYTES_MAX + 1))
    fresh, _ = pair()
    with pytest.raises(HandshakeRefused, match="too large"):
        fresh.write(bytes(noise.MESSAGE_BYTES_MAX))


def test_replay_reorder_and_loss_are_noticed() -> None:
    (send, _), (_, receive) = shake(*pair())
    first, second = send.encrypt(b"first"), send.encrypt(b"second")
    with pytest.raises(PeerError):
        receive.decrypt(second)
    assert receive.decrypt(first) == b"first"
    with pytest.raises(PeerError):
        receive.decrypt(first)
    assert receive.decrypt(second) == b"second"


def test_nonces_run_out() -> None:
    cipher = Cipher(bytes(32), nonce=noise.NONCE_MAX - 1)
    cipher.encrypt(b"last")
    with pytest.raises(PeerError, match="used up"):
        cipher.encrypt(b"one too many")


def test_rekey_follows_the_specification_and_keeps_both_ends_together() -> None:
    key = bytes(range(32))
    send, receive = Cipher(key, rekey_messages=3), Cipher(key, rekey_messages=3)
    for index in range(10):
        assert receive.decrypt(send.encrypt(bytes([index]))) == bytes([index])
    # Section 4.2: REKEY(k) = ENCRYPT(k, 2^64-1, "", 32 zeros), its first 32 bytes; the nonce goes on.
    second = ChaCha20Poly1305(key).encrypt(bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]
    fourth = Cipher(key, rekey_messages=3)
    wire = [fourth.encrypt(b"x") for _ in range(4)]
    assert ChaCha20Poly1305(second).decrypt(bytes(4) + (3).to_bytes(8, "little"), wire[3], b"") == b"x"


GENESIS = Hash32(bytes([7]) * 32)
KEY = PrivateKey.from_bytes(bytes(31) + b"\x07")
STATIC = noise.public_key(INITIATOR)


def identity() -> Identity:
    return Identity(GENESIS, KEY.sign(identity_hash(STATIC, GENESIS)), "northfield")


def test_identity_round_trip_and_address() -> None:
    decoded = Identity.decode(identity().encode())
    assert decoded == identity()
    assert decoded.address(STATIC, GENESIS) == KEY.address


def test_identity_is_bound_to_network_and_key() -> None:
    with pytest.raises(HandshakeRefused, match="another network"):
        identity().address(STATIC, Hash32(bytes(32)))
    assert identity().address(noise.public_key(RESPONDER), GENESIS) != KEY.address
    broken = Identity(GENESIS, bytes(65), "northfield")
    with pytest.raises(HandshakeRefused, match="does not recover"):
        broken.address(STATIC, GENESIS)


@given(st.binary(max_size=200))
def test_random_identities(payload: bytes) -> None:
    try:
        found = Identity.decode(payload)
    except HandshakeRefused:
        return
    assert found.encode() == payload


@pytest.mark.parametrize("name", ["UPPER", "a" * 33, "sp ace", "é"])
def test_identity_names_are_slugs(name: str) -> None:
    with pytest.raises(HandshakeRefused):
        Identity.decode(identity().encode()[: 1 + 32 + 65] + name.encode())
