"""Kinds about data: what an organisation holds, and who may use it for what.

Never a byte of the data itself: that stays in the store of whoever holds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from comity.record.fields import (
    COLUMNS_MAX,
    Count,
    Grantee,
    HashDigest,
    Line,
    Name,
    RecordDigest,
    UnixTime,
    Version,
)
from comity.record.kinds.base import Part, Purposes, Spec, Subject, distinct
from comity.record.types import Digest


class Column(Part, frozen=True):
    name: Line
    type: Line
    missing: Count


class Dataset(Spec, frozen=True):
    """Data that an organisation holds: its profile and a salted commitment, never a byte of it."""

    name: Name
    version: Version
    commitment: HashDigest
    bytes: Count
    rows: Count
    columns: Annotated[list[Column], Meta(max_length=COLUMNS_MAX)]
    purposes: Purposes
    licence: Line
    consent: Line

    def __post_init__(self) -> None:
        distinct("columns", (column.name for column in self.columns))
        distinct("purposes", self.purposes)

    def subjects(self) -> Iterable[Subject]:
        return (Subject(f"{self.name}@{self.version}", self.commitment),)


class Grant(Spec, frozen=True):
    """Leave to use a dataset for purposes until a time (unix seconds)."""

    dataset: RecordDigest
    grantee: Grantee
    purposes: Purposes
    until: UnixTime

    def __post_init__(self) -> None:
        distinct("purposes", self.purposes)

    def references(self) -> Iterable[Digest]:
        return (self.dataset,)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("dataset", self.dataset),)
