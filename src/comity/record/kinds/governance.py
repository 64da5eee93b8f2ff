"""Kinds about decisions: services, what they should point at, who joins, votes, and taking back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from comity.record.fields import (
    AddressHex,
    Count,
    Endpoint,
    Line,
    Name,
    Quorum,
    Reason,
    RecordDigest,
    Seconds,
)
from comity.record.kinds.base import Part, Spec, Subject, digest_of
from comity.record.types import Digest


class Service(Spec, frozen=True):
    """A name that answers predictions, and how many must approve what stands behind it."""

    name: Name
    approvals: Quorum
    time_lock_s: Seconds

    def subjects(self) -> Iterable[Subject]:
        return (Subject(self.name, digest_of(self)),)


class Deploy(Spec, frozen=True, tag_field="action", tag="deploy"):
    """A proposal that a service should point at a model."""

    service: RecordDigest
    model: RecordDigest
    previous: RecordDigest | None
    nonce: Count
    """Tells apart proposals of the same change, of which the earlier are over: back to a model, and back again."""

    def references(self) -> Iterable[Digest]:
        return (self.service, self.model) if self.previous is None else (self.service, self.model, self.previous)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("model", self.model),)


class Member(Part, frozen=True):
    name: Name
    org: AddressHex
    validator: AddressHex | None
    endpoint: Endpoint


class Admit(Spec, frozen=True, tag_field="action", tag="admit"):
    """A proposal that an organisation should become a member."""

    member: Member
    nonce: Count

    def subjects(self) -> Iterable[Subject]:
        return (Subject(self.member.name, digest_of(self.member)),)


class Vote(Spec, frozen=True):
    """A person's decision, in the name of an organisation, on a study or a proposal."""

    on: Literal["study", "proposal"]
    about: RecordDigest
    choice: Literal["approve", "refuse"]
    by: Line
    because: Reason

    def references(self) -> Iterable[Digest]:
        return (self.about,)

    def subjects(self) -> Iterable[Subject]:
        return (Subject(self.on, self.about),)


class Revocation(Spec, frozen=True):
    """An organisation takes back a record of its own."""

    about: RecordDigest
    because: Reason

    def references(self) -> Iterable[Digest]:
        return (self.about,)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("record", self.about),)
