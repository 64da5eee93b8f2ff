"""Facts that a node leaves behind, told apart by `of`: a task ran, a model is loaded, a batch was answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta

from comity.record.fields import (
    ENTRIES_MAX,
    BlobDigest,
    Count,
    ExitStatus,
    HashDigest,
    Key,
    Line,
    Positive,
    RecordDigest,
)
from comity.record.kinds.base import Part, Spec, Subject
from comity.record.types import Digest


class Usage(Part, frozen=True):
    cpu_ms: Count
    wall_ms: Count
    memory_peak_bytes: Count


class TaskReceipt(Spec, frozen=True, tag_field="of", tag="task"):
    """A task ran, or failed."""

    task: RecordDigest
    outcome: Literal["done", "failed"]
    outputs: Annotated[dict[Key, BlobDigest], Meta(max_length=ENTRIES_MAX)]
    exit: ExitStatus
    usage: Usage
    isolation: Annotated[dict[Key, bool | Count | Line], Meta(max_length=ENTRIES_MAX)]
    log: BlobDigest

    def references(self) -> Iterable[Digest]:
        return (self.task,)

    def subjects(self) -> Iterable[Subject]:
        outputs = (Subject(f"outputs/{name}", self.outputs[name]) for name in sorted(self.outputs))
        return (*outputs, Subject("log", self.log))


class DeploymentReceipt(Spec, frozen=True, tag_field="of", tag="deployment"):
    """A node fetched, checked and loaded a service's model."""

    service: RecordDigest
    model: RecordDigest
    artefact: BlobDigest

    def references(self) -> Iterable[Digest]:
        return (self.service, self.model)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("artefact", self.artefact),)


class PredictionsReceipt(Spec, frozen=True, tag_field="of", tag="predictions"):
    """A batch of prediction receipts, by the root of their Merkle tree; `first` is the index of its first leaf."""

    service: RecordDigest
    model: RecordDigest
    root: HashDigest
    count: Positive
    first: Count

    def references(self) -> Iterable[Digest]:
        return (self.service, self.model)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("root", self.root),)
