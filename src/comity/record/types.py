"""The exact types that every package shares. Not behaviour: see `digest` and `keys` for what makes them."""

from __future__ import annotations

from typing import NewType, TypeAlias

Digest = NewType("Digest", str)
"""SHA-256 as 64 lower-case hexadecimal characters: the name of a record or a blob."""

Hash32 = NewType("Hash32", bytes)
"""32 bytes: a Keccak-256 hash, a root, or a digest in its on-chain form."""

Address = NewType("Address", bytes)
"""20 bytes: an Ethereum account."""

Height = NewType("Height", int)
Wei = NewType("Wei", int)

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

SHORT_CHARACTERS = 12


def short(digest: str) -> str:
    """The first 12 characters of a digest, as people see it."""
    return digest[:SHORT_CHARACTERS]
