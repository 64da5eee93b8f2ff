"""Making a bundle: which records, transactions and blobs stand behind a target, and their proofs.

Pure: blocks and blobs come as arguments. `select` names what is needed, so that a node may fetch it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from comity.ledger import trie
from comity.ledger.block import encode_header, encode_receipt, encode_seals
from comity.ledger.errors import BadEvidence
from comity.ledger.evidence.bundle import (
    GENESIS,
    MANIFEST,
    PREDICTION,
    VERSION,
    Block,
    Manifest,
    Prediction,
    RoundEntry,
    blob_name,
    event_name,
    header_name,
    record_name,
)
from comity.ledger.view import View
from comity.ledger.view_types import Place, Study
from comity.record import canonical, kinds
from comity.record.types import Digest, Height, Json


@dataclass(frozen=True)
class Selection:
    """What a bundle needs."""

    manifest: Manifest
    places: dict[str, Place]
    """File name -> the transaction that it proves."""
    blobs: tuple[Digest, ...]
    """Blobs to enclose; those that are not at hand are left out."""
    prediction: Prediction | None
    view: View

    @property
    def heights(self) -> tuple[Height, ...]:
        """Blocks whose headers, transactions and receipts are needed, ascending; 0 is always among them."""
        return tuple(Height(h) for h in sorted({0, *(height for height, _ in self.places.values())}))

    def envelope(self, name: str) -> Json:
        """The DSSE envelope that a record's file shows to people; None for a transaction without a record."""
        digest = Digest(name.removeprefix("records/").removesuffix(".json"))
        anchored = self.view.records.get(digest)
        return None if anchored is None else canonical.decode(anchored.envelope.encode())


def select(target: Digest, view: View, prediction: Prediction | None = None) -> Selection:
    """What the evidence of a record, or of `prediction` when it is given, must hold.

    `target` is the record's digest, or the prediction's. Raises BadEvidence when the view does not know it.
    """
    links = _Links(view)
    if prediction is not None:
        links.prediction(prediction)
        kind = "prediction"
    else:
        anchored = view.records.get(target)
        if anchored is None:
            raise BadEvidence(f"there is no record {target[:12]} on this ledger", hint="comity ls")
        kind = anchored.kind
        links.record(target)
    manifest = msgspec.structs.replace(links.manifest, target=target, kind=kind, admissions=links.admissions())
    return Selection(manifest, links.places(manifest), tuple(dict.fromkeys(links.blobs)), prediction, view)


def collect(
    selection: Selection,
    genesis: bytes,
    blocks: Callable[[Height], Block],
    blobs: Callable[[Digest], bytes | None],
) -> dict[str, bytes]:
    """The bundle: file name -> bytes.

    `genesis` is the canonical genesis document, `blocks` gives a sealed block and its receipts, `blobs` a blob or None.
    """
    files = {MANIFEST: selection.manifest.encode(), GENESIS: genesis}
    if selection.prediction is not None:
        files[PREDICTION] = selection.prediction.encode()
    proofs: dict[Height, _Proofs] = {}
    for height in selection.heights:
        sealed, receipts = blocks(height)
        header, seals = encode_header(sealed.block.header).hex(), encode_seals(sealed.seals).hex()
        files[header_name(height)] = canonical.encode({"header": header, "seals": seals})
        proofs[height] = _Proofs(sealed.block.transactions, [encode_receipt(r) for r in receipts])
    for name, (at, index) in selection.places.items():
        files[name] = canonical.encode(
            {"height": at, "index": index, "envelope": selection.envelope(name), **proofs[Height(at)].of(index)}
        )
    for digest in selection.blobs:
        blob = blobs(digest)
        if blob is not None:
            files[blob_name(digest)] = blob
    return files


class _Proofs:
    """The two tries of one block."""

    def __init__(self, transactions: Iterable[bytes], receipts: Iterable[bytes]) -> None:
        self._transactions, self._receipts = list(transactions), list(receipts)

    def of(self, index: int) -> dict[str, list[str]]:
        return {
            "transaction": [node.hex() for node in trie.ordered_proof(self._transactions, index)],
            "receipt": [node.hex() for node in trie.ordered_proof(self._receipts, index)],
        }


class _Links:
    """Walks from the target down to the data, filling the manifest."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.manifest = Manifest(v=VERSION, target="0" * 64, kind="")
        self.blobs: list[Digest] = []

    def _set(self, **links: object) -> None:
        self.manifest = msgspec.structs.replace(self.manifest, **links)

    def prediction(self, prediction: Prediction) -> None:
        self._batch(prediction.batch)

    def record(self, digest: Digest) -> None:
        match self.view.records[digest].record.spec:
            case kinds.PredictionsReceipt():
                self._batch(digest)
            case kinds.Service():
                self._service(digest)
            case kinds.Deploy() | kinds.Admit():
                self._proposal(digest)
            case kinds.Model():
                self._model(digest)
            case kinds.Study():
                self._study(digest)
            case _:
                self._set(others=self._closure(digest))

    def _closure(self, digest: Digest) -> list[str]:
        """The record and all that it refers to, transitively."""
        found: dict[str, None] = {}
        stack = [digest]
        while stack:
            one = stack.pop()
            if one not in found and one in self.view.records:
                found[one] = None
                stack.extend(self.view.records[one].record.refs)
        return list(found)

    def _batch(self, digest: Digest) -> None:
        anchored = self.view.records.get(digest)
        if anchored is None or not isinstance(anchored.record.spec, kinds.PredictionsReceipt):
            raise BadEvidence("the prediction's batch is not anchored", hint="ask again in a few seconds")
        spec = anchored.record.spec
        self._set(batch=digest)
        service = self.view.services[spec.service]
        pointing = [p for p in service.history if p.model == spec.model and p.height < anchored.height]
        self._proposal(pointing[-1].proposal)

    def _service(self, digest: Digest) -> None:
        current = self.view.services[digest].current
        if current is None:
            self._set(service=digest)
        else:
            self._proposal(current.proposal)

    def _proposal(self, digest: Digest) -> None:
        proposal = self.view.proposals[digest]
        if proposal.execution is not None:
            self._set(execution=_text(proposal.execution))
        ballots = [v.record for v in proposal.votes.values()]
        self._set(service=proposal.service, proposal=digest, ballots=ballots)
        if proposal.model is not None:
            self._model(proposal.model)

    def _model(self, digest: Digest) -> None:
        self._set(model=digest)
        spec = self.view.records[digest].record.spec
        if isinstance(spec, kinds.Model):
            self.blobs += [spec.artefact, spec.weights]
            self._study(spec.study)

    def _study(self, digest: Digest) -> None:
        study = self.view.studies[digest]
        spec = self.view.records[digest].record.spec
        if not isinstance(spec, kinds.Study):
            raise BadEvidence(f"{digest[:12]} is no study")
        self.blobs += [spec.code, *(f.aggregate for f in study.finals)]
        rounds = [RoundEntry(f.record, [_text(p) for p in f.places]) for f in study.finals]
        approvals = [v.record for v in study.votes.values() if v.record != digest]
        grants = [g for d in spec.datasets for g in self._grants(d, study, spec.purpose)]
        touching = {*spec.datasets, *grants, *approvals, digest}
        revocations = [self.view.revoked[d] for d in sorted(touching & self.view.revoked.keys())]
        self._set(
            study=digest,
            approvals=approvals,
            rounds=rounds,
            datasets=list(spec.datasets),
            grants=grants,
            revocations=revocations,
        )

    def _grants(self, dataset: Digest, study: Study, purpose: str) -> list[Digest]:
        if self.view.records[dataset].org in study.roster:
            return []
        time = self.view.records[study.digest].time
        return [
            g.digest
            for g in self.view.grants.values()
            if g.dataset == dataset and g.grantee in (study.org, "*") and purpose in g.purposes and g.valid_at(time)
        ]

    def admissions(self) -> list[str]:
        return [_text(m.place) for m in self.view.members.values() if m.place is not None]

    def places(self, manifest: Manifest) -> dict[str, Place]:
        m = manifest
        records = [
            m.batch,
            m.service,
            m.proposal,
            m.model,
            m.study,
            *m.ballots,
            *m.approvals,
            *(r.record for r in m.rounds),
        ]
        records += [*m.datasets, *m.grants, *m.revocations, *m.others]
        places: dict[str, Place] = {}
        for digest in records:
            if digest is not None:
                anchored = self.view.records[Digest(digest)]
                places[record_name(digest)] = (anchored.height, anchored.index)
        events = [*manifest.admissions, *([manifest.execution] if manifest.execution else [])]
        for text in (*events, *(e for r in manifest.rounds for e in r.events)):
            height, _, index = text.partition("-")
            places[event_name(text)] = (int(height), int(index))
        return places


def _text(place: Place) -> str:
    return f"{place[0]}-{place[1]}"
