"""Every kind of record, version 1: the `spec` it carries, the records that spec names, and the artefacts it is about.

A spec that exists is valid (msgspec constraints of `fields`, cross-checks here). Not the statement around it: see `record`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from comity.record import canonical
from comity.record.digest import sha256
from comity.record.errors import MalformedRecord, UnknownKind
from comity.record.fields import (
    COLUMNS_MAX,
    DIMENSIONS_MAX,
    ENTRIES_MAX,
    INPUTS_MAX,
    PURPOSES_MAX,
    ROSTER_MAX,
    TENSORS_MAX,
    AddressHex,
    ArgumentText,
    Attempt,
    BlobDigest,
    Count,
    Datatype,
    Decimal,
    Dimension,
    Endpoint,
    ExitStatus,
    Faults,
    Grantee,
    HashDigest,
    Key,
    Line,
    Name,
    Positive,
    Quorum,
    Reason,
    RecordDigest,
    Rounds,
    Seconds,
    UnixTime,
    Version,
    WeiText,
)
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
        _distinct("columns", (column.name for column in self.columns))
        _distinct("purposes", self.purposes)

    def subjects(self) -> Iterable[Subject]:
        return (Subject(f"{self.name}@{self.version}", self.commitment),)


class Grant(Spec, frozen=True):
    """Leave to use a dataset for purposes until a time (unix seconds)."""

    dataset: RecordDigest
    grantee: Grantee
    purposes: Purposes
    until: UnixTime

    def __post_init__(self) -> None:
        _distinct("purposes", self.purposes)

    def references(self) -> Iterable[Digest]:
        return (self.dataset,)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("dataset", self.dataset),)


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
        _distinct("inputs", self.inputs)

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
        _distinct("datasets", self.datasets)
        _distinct("roster", self.roster)
        if self.quorum > len(self.roster):
            raise ValueError(f"quorum {self.quorum} exceeds the roster of {len(self.roster)}")

    def references(self) -> Iterable[Digest]:
        return self.datasets

    def subjects(self) -> Iterable[Subject]:
        return (Subject("code", self.code), Subject("initial", self.initial))


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
        _distinct("inputs", (tensor.name for tensor in self.inputs))
        _distinct("outputs", (tensor.name for tensor in self.outputs))

    def references(self) -> Iterable[Digest]:
        return (self.study, self.round)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("artefact", self.artefact), Subject("weights", self.weights))


class Service(Spec, frozen=True):
    """A name that answers predictions, and how many must approve what stands behind it."""

    name: Name
    approvals: Quorum
    time_lock_s: Seconds

    def subjects(self) -> Iterable[Subject]:
        return (Subject(self.name, _digest_of(self)),)


class Deploy(Spec, frozen=True, tag_field="action", tag="deploy"):
    """A proposal that a service should point at a model."""

    service: RecordDigest
    model: RecordDigest
    previous: RecordDigest | None

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

    def subjects(self) -> Iterable[Subject]:
        return (Subject(self.member.name, _digest_of(self.member)),)


class Offer(Spec, frozen=True):
    """A resource for a price per unit, until a time."""

    resource: Name
    unit: Name
    price_wei: WeiText
    until: UnixTime

    def subjects(self) -> Iterable[Subject]:
        return (Subject(self.resource, _digest_of(self)),)


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
        _distinct("included and refused", [part.org for part in (*self.included, *self.refused)])

    def references(self) -> Iterable[Digest]:
        return (self.study,)

    def subjects(self) -> Iterable[Subject]:
        return (Subject("aggregate", self.aggregate),)


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


Proposal = Deploy | Admit
Receipt = TaskReceipt | DeploymentReceipt | PredictionsReceipt

KINDS: Mapping[str, Any] = MappingProxyType(
    {
        "dataset": Dataset,
        "grant": Grant,
        "task": Task,
        "app": App,
        "study": Study,
        "model": Model,
        "service": Service,
        "proposal": Proposal,
        "offer": Offer,
        "receipt": Receipt,
        "round": Round,
        "evaluation": Evaluation,
        "vote": Vote,
        "revocation": Revocation,
    }
)
"""Kind to its spec: a struct, or the union of structs that its first field (`action`, `of`) tells apart."""

VERSION = 1


def spec_type(kind: str) -> Any:
    """The struct, or union of structs, that `kind` carries; `UnknownKind` when there is none."""
    if kind not in KINDS:
        raise UnknownKind(f"no record kind `{kind[:64]}`", hint=f"kinds are {', '.join(KINDS)}")
    return KINDS[kind]


def build(kind: str, value: object) -> Spec:
    """The valid spec of a kind from a JSON-like dict, or from a struct that is checked again; `MalformedRecord` names what is wrong."""
    expected = spec_type(kind)
    try:
        plain = to_json(value) if isinstance(value, Spec) else value
        spec = msgspec.convert(plain, expected, strict=True)
    except (msgspec.ValidationError, TypeError) as error:
        raise MalformedRecord(f"not a valid {kind}", why=str(error)) from None
    if not isinstance(spec, Spec):
        raise MalformedRecord(f"not a valid {kind}", why=f"got {type(value).__name__}")
    return spec


def references(spec: Spec) -> list[Digest]:
    """The distinct digests of the records that `spec` names, ascending."""
    return sorted(set(spec.references()))


def to_json(part: Part) -> dict[str, Any]:
    """A spec as plain JSON values, tags included."""
    plain = msgspec.to_builtins(part)
    if not isinstance(plain, dict):
        raise TypeError("a part is an object")
    return plain


def _digest_of(part: Part) -> Digest:
    return sha256(canonical.encode(to_json(part)))


def _distinct(what: str, values: Iterable[Hashable]) -> None:
    values = list(values)
    if len(set(values)) != len(values):
        raise ValueError(f"{what} must be distinct")
