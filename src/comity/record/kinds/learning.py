"""Kinds about joint training: the plan, each finished round, the model that came out, how it did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta

from comity.record.fields import (
    DIMENSIONS_MAX,
    INPUTS_MAX,
    ROSTER_MAX,
    TENSORS_MAX,
    Attempt,
    BlobDigest,
    Count,
    Datatype,
    Dimension,
    Faults,
    Line,
    Name,
    Positive,
    Quorum,
    Reason,
    RecordDigest,
    Rounds,
    Seconds,
    Version,
)
from comity.record.kinds.base import Metrics, Part, Spec, Subject, distinct
from comity.record.types import Digest


class Rule(Part, frozen=True):
    name: Name
    f: Faults


class Study(Spec, frozen=True):
    """A plan to train one model together: code, data, who takes part, and by which rule updates are joined."""

    name: Name
    code: BlobDigest
    code_lines: Positive
    initial: BlobDigest
    datasets: Annotated[list[RecordDigest], Meta(min_length=1, max_length=INPUTS_MAX)]
    roster: Annotated[list[Name], Meta(min_length=1, max_length=ROSTER_MAX)]
    purpose: Name
    rule: Rule
    rounds: Rounds
    quorum: Quorum
    round_timeout_s: Seconds
    privacy: Literal["none"]
    seed: Count

    def __post_init__(self) -> None:
        distinct("datasets", self.datasets)
        distinct("roster", self.roster)
        if self.quorum > len(self.roster):
            raise ValueError(f"quorum {self.quorum} exceeds the roster of {len(self.roster)}")

    def references(self) -> Iterable[Digest]:
        return self.datasets

    def subjects(self) -> Iterable[Subject]:
        return (Subject("code", self.code), Subject("initial", self.initial))


class Included(Part, frozen=True):
    org: Name
    update: BlobDigest
    weight: Positive


class Exclusion(Part, frozen=True):
    org: Name
    because: Reason


class Round(Spec, frozen=True):
    """One finished round of a study: whose updates went in, whose did not and why, and what came out."""

    study: RecordDigest
    index: Rounds
    attempt: Attempt
    base: BlobDigest
    aggregate: BlobDigest
    included: Annotated[list[Included], Meta(min_length=1, max_length=ROSTER_MAX)]
    refused: Annotated[list[Exclusion], Meta(max_length=ROSTER_MAX)]
    metrics: Metrics

    def __post_init__(self) -> None:
        distinct("included and refused", [*(one.org for one in self.included), *(one.org for one in self.refused)])

    def references(self) -> Iterable[Digest]:
        return (self.study,)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("aggregate", self.aggregate),)


class Tensor(Part, frozen=True):
    name: Line
    datatype: Datatype
    shape: Annotated[list[Dimension], Meta(max_length=DIMENSIONS_MAX)]


Tensors = Annotated[list[Tensor], Meta(min_length=1, max_length=TENSORS_MAX)]


class Model(Spec, frozen=True):
    """What a study made: its final weights, and the artefact that a service loads."""

    name: Name
    version: Version
    study: RecordDigest
    round: RecordDigest
    weights: BlobDigest
    artefact: BlobDigest
    format: Literal["onnx"]
    inputs: Tensors
    outputs: Tensors

    def __post_init__(self) -> None:
        distinct("inputs", (tensor.name for tensor in self.inputs))
        distinct("outputs", (tensor.name for tensor in self.outputs))

    def references(self) -> Iterable[Digest]:
        return (self.study, self.round)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("artefact", self.artefact), Subject("weights", self.weights))


class Evaluation(Spec, frozen=True):
    """How a proposed model did on an organisation's own data."""

    proposal: RecordDigest
    model: RecordDigest
    dataset: RecordDigest
    rows: Count
    metrics: Metrics
    artefact: BlobDigest

    def references(self) -> Iterable[Digest]:
        return (self.proposal, self.model, self.dataset)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("model", self.model),)
