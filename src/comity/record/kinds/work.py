"""Kinds about programs and machines: what to run, what may be installed, what a resource costs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from comity.record.fields import (
    ENTRIES_MAX,
    INPUTS_MAX,
    ArgumentText,
    BlobDigest,
    Count,
    Key,
    Line,
    Name,
    Positive,
    RecordDigest,
    UnixTime,
    Version,
    WeiText,
)
from comity.record.kinds.base import Part, Spec, Subject, digest_of, distinct
from comity.record.types import Digest


class Limits(Part, frozen=True):
    cpu_s: Positive
    wall_s: Positive
    memory_bytes: Positive
    output_bytes: Positive


class Task(Spec, frozen=True):
    """A program to run once over inputs, under limits."""

    code: BlobDigest
    inputs: Annotated[list[RecordDigest], Meta(max_length=INPUTS_MAX)]
    purpose: Name
    environment: Line
    limits: Limits
    arguments: Annotated[dict[Key, ArgumentText], Meta(max_length=ENTRIES_MAX)]
    nonce: Count

    def __post_init__(self) -> None:
        distinct("inputs", self.inputs)

    def references(self) -> Iterable[Digest]:
        return self.inputs

    def subjects(self) -> Iterable[Subject]:
        return (Subject("code", self.code),)


class App(Spec, frozen=True):
    """A program that others may install, by its manifest."""

    name: Name
    version: Version
    manifest: BlobDigest

    def subjects(self) -> Iterable[Subject]:
        return (Subject(f"{self.name}@{self.version}", self.manifest),)


class Offer(Spec, frozen=True):
    """A resource for a price per unit, until a time."""

    resource: Name
    unit: Name
    price_wei: WeiText
    until: UnixTime

    def subjects(self) -> Iterable[Subject]:
        return (Subject(self.resource, digest_of(self)),)
