"""What every kind is made of: `Part` (a nested object) and `Spec` (what a record says).

Structs are checked when they are built from JSON (`kinds.build`), not by their constructors: `Record.make` checks both.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

from comity.record import canonical
from comity.record.digest import sha256
from comity.record.fields import ENTRIES_MAX, PURPOSES_MAX, Decimal, Key, Name
from comity.record.types import Digest

Purposes = Annotated[list[Name], Meta(min_length=1, max_length=PURPOSES_MAX)]
Metrics = Annotated[dict[Key, Decimal], Meta(max_length=ENTRIES_MAX)]


class Subject(NamedTuple):
    """An artefact or record that a statement is about (in-toto Statement v1, `subject`)."""

    name: str
    sha256: Digest


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A nested object of a spec."""


class Spec(Part, frozen=True):
    """What a record says."""

    def references(self) -> Iterable[Digest]:
        """Digests of the records that this spec names."""
        return ()

    def subjects(self) -> Iterable[Subject]:
        """What the statement is about, at least one."""
        raise TypeError(f"{type(self).__name__} is no kind")


def to_json(part: Part) -> dict[str, Any]:
    """A spec as plain JSON values, tags included."""
    plain = msgspec.to_builtins(part)
    if not isinstance(plain, dict):
        raise TypeError("a part is an object")
    return plain


def digest_of(part: Part) -> Digest:
    """SHA-256 of a part's canonical JSON: the subject of kinds that are about nothing but themselves."""
    return sha256(canonical.encode(to_json(part)))


def distinct(what: str, values: Iterable[Hashable]) -> None:
    """A cross-check for `__post_init__`: msgspec turns the ValueError into its own."""
    values = list(values)
    if len(set(values)) != len(values):
        raise ValueError(f"{what} must be distinct")
