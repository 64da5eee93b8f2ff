"""The commitment is the very hash that the Studies contract computes."""

from __future__ import annotations

import hashlib

import pytest

from comity.learn.commitment import commitment
from comity.learn.errors import LearnError
from comity.record.types import Address, Digest

UPDATE, SALT, ORG = Digest("ab" * 32), b"s" * 32, Address(b"o" * 20)


def test_it_is_sha256_of_update_salt_and_organisation() -> None:
    assert commitment(UPDATE, SALT, ORG) == hashlib.sha256(bytes.fromhex(UPDATE) + SALT + ORG).digest()


def test_it_binds_each_of_the_three() -> None:
    others = [(Digest("ac" * 32), SALT, ORG), (UPDATE, b"t" * 32, ORG), (UPDATE, SALT, Address(b"p" * 20))]
    assert len({commitment(UPDATE, SALT, ORG), *(commitment(*other) for other in others)}) == 4


@pytest.mark.parametrize(("salt", "org"), [(b"s" * 31, ORG), (b"s" * 33, ORG), (SALT, Address(b"o" * 19))])
def test_lengths_are_exact(salt: bytes, org: Address) -> None:
    with pytest.raises(LearnError):
        commitment(UPDATE, salt, org)
