"""Evidence of a real consortium's chain: it verifies from the genesis digest alone, and nothing that was touched does."""

from __future__ import annotations

import io
import json
import random
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger.errors import BadEvidence
from comity.ledger.evidence import Prediction, Report, collect, read_zip, select, verify, write_zip
from comity.ledger.types import Receipt, SealedBlock
from comity.record import canonical, merkle
from comity.record.digest import sha256
from comity.record.types import Digest, Hash32, Height
from support.consortium import HOSPITALS, ORGS, START, Consortium

N, R, L, H = ORGS
FLIPS_PER_FILE = 3
BLOBS = {sha256(b): b for b in (b"code", b"onnx", b"aggregate 1", b"aggregate 2")}


class Story:
    """A whole life: joined member, granted dataset, study, deployment, five predictions."""

    def __init__(self) -> None:
        c = self.c = Consortium()
        member = {
            "name": "newcomer",
            "org": "0x" + c.address("newcomer").hex(),
            "validator": None,
            "endpoint": "127.0.0.1:7441",
        }
        admission = c.anchor(N, "proposal", {"action": "admit", "member": member, "nonce": 0})
        for org in HOSPITALS:
            c.vote(org, "proposal", admission)
        c.send(N, "Governance", "execute", bytes.fromhex(admission))
        self.admission = admission
        lent = c.dataset("newcomer", name="lent")
        self.grant = c.anchor(
            "newcomer", "grant", {"dataset": lent, "grantee": N, "purposes": ["diagnosis"], "until": START + 90_000}
        )
        datasets = [*(c.dataset(o, name=f"breast-{o}") for o in HOSPITALS), lent]
        self.study = c.anchor(N, "study", c.study_spec(datasets))
        for org in (R, L):
            c.vote(org, "study", self.study)
        for index in (1, 2):
            c.run_round(self.study, index, b"aggregate %d" % index)
        self.model = c.anchor(N, "model", c.model_spec(self.study, b"aggregate 2", b"onnx"))
        self.service = c.service()
        self.proposal = c.deploy(self.service, self.model)
        self.leaves = [self.receipt(i) for i in range(5)]
        root = merkle.root(self.leaves)
        spec = {
            "of": "predictions",
            "service": self.service,
            "model": self.model,
            "root": root,
            "count": 5,
            "first": 10,
        }
        # Other transactions in the same block, so that the proofs have branches.
        other = c.anchoring(H, "offer", {"resource": "gpu", "unit": "hour", "price_wei": "1", "until": START + 1})
        assert c.block(other, c.anchoring(L, "receipt", spec), c.anchoring(N, "offer", c_offer())) == ["", "", ""]
        self.batch = c.envelope(L, "receipt", spec).digest

    def receipt(self, index: int) -> bytes:
        value = {
            "v": 1, "service": self.service, "model": self.model, "artefact": sha256(b"onnx"), "request": sha256(b"question"),
            "parameters": sha256(b"{}"), "response": sha256(b"answer"), "org": L, "time": self.c.time, "sequence": 10 + index,
            "salt": "5a" * 16,
        }  # fmt: skip
        return canonical.encode(value)

    def prediction(self, index: int = 3) -> Prediction:
        path = merkle.prove(self.leaves, index)
        return Prediction(self.leaves[index], self.batch, index, path, b"question", b"{}", b"answer")

    def bundle(self, target: Digest | None = None, prediction: Prediction | None = None) -> dict[str, bytes]:
        selection = select(target or (prediction.digest if prediction else Digest("")), self.c.view, prediction)
        return collect(selection, self.c.genesis.encode(), self.block, BLOBS.get)

    def block(self, height: Height) -> tuple[SealedBlock, tuple[Receipt, ...]]:
        return self.c.blocks[height]

    def verify(self, files: dict[str, bytes]) -> Report:
        return verify(files, self.c.genesis_hash)


def c_offer() -> dict[str, Any]:
    return {"resource": "cpu", "unit": "hour", "price_wei": "1", "until": START + 1}


@cache
def story() -> Story:
    return Story()


@cache
def prediction_bundle() -> dict[str, bytes]:
    return story().bundle(prediction=story().prediction())


def changed(files: dict[str, bytes], name: str, **values: Any) -> dict[str, bytes]:
    return files | {name: canonical.encode(json.loads(files[name]) | values)}


def test_a_prediction_verifies_offline() -> None:
    report = story().verify(prediction_bundle())
    lines = [f"{'✓' if c.ok else '✗'} {c.name}: {c.detail}" for c in report.checks]
    print("\n".join(lines))
    assert report.ok and report.broken is None and report.target == story().prediction().digest
    names = [c.name.split()[0] for c in report.checks]
    assert names == ["genesis", "receipt", "anchored", "service", "model", "study", "data"]
    details = " ".join(c.detail for c in report.checks)
    for words in ("4 members", "1 joined later", "request and parameters and response match", "3 of 5 votes, time lock kept",
                  "2 rounds", "2 of 2 aggregates enclosed", 'granted for "diagnosis"'):  # fmt: skip
        assert words in details


def test_every_kind_of_target_verifies() -> None:
    s = story()
    for target, anchored in s.c.view.records.items():
        report = s.verify(s.bundle(target))
        assert report.ok, (anchored.kind, report.broken)
    for index in range(5):
        assert s.verify(s.bundle(prediction=s.prediction(index))).ok


def test_unfinished_business_verifies_too() -> None:
    c = Consortium()
    data = [c.dataset(o, name=f"breast-{o}") for o in HOSPITALS]
    study = c.anchor(N, "study", c.study_spec(data))
    service = c.service()

    def check(target: Digest) -> Report:
        files = collect(select(target, c.view), c.genesis.encode(), lambda h: c.blocks[h], BLOBS.get)
        return verify(files, c.genesis_hash)

    assert check(study).ok and check(service).ok
    c.vote(R, "study", study)
    c.vote(L, "study", study)
    assert check(study).ok
    c.run_round(study, 1, b"aggregate 1")
    assert check(study).ok
    c.run_round(study, 2, b"aggregate 2")
    model = c.anchor(N, "model", c.model_spec(study, b"aggregate 2", b"onnx"))
    proposal = c.propose(service, model)
    c.vote(N, "proposal", proposal)
    report = check(proposal)
    assert report.ok and any("1 of 3 votes so far, not executed" in x.detail for x in report.checks)
    with pytest.raises(BadEvidence, match="no record"):
        check(sha256(b"nothing"))


def test_validators_that_join_count_from_then_on() -> None:
    c = Consortium()
    early = c.trained_model()
    validator = c.validator_of("newcomer")
    assert validator is not None
    member = {
        "name": "newcomer",
        "org": "0x" + c.address("newcomer").hex(),
        "validator": "0x" + validator.hex(),
        "endpoint": "h:1",
    }
    admission = c.anchor(N, "proposal", {"action": "admit", "member": member, "nonce": 0})
    for org in HOSPITALS:
        c.vote(org, "proposal", admission)
    c.send(N, "Governance", "execute", bytes.fromhex(admission))
    assert len(c.validators) == 5
    late = c.dataset("newcomer")

    def bundle(target: Digest) -> dict[str, bytes]:
        return collect(select(target, c.view), c.genesis.encode(), lambda h: c.blocks[h], BLOBS.get)

    for target in (early, admission, late):
        report = verify(bundle(target), c.genesis_hash)
        assert report.ok, report.broken
    files = bundle(late)
    without = changed(files, "manifest.json", admissions=[])
    assert verify(without, c.genesis_hash).broken is not None
    twice = json.loads(files["manifest.json"])["admissions"] * 2
    report = verify(changed(files, "manifest.json", admissions=twice), c.genesis_hash)
    assert report.broken is not None and report.broken.name == "genesis"


def test_blobs_may_be_absent_but_not_wrong() -> None:
    s = story()
    files = {n: b for n, b in prediction_bundle().items() if not n.startswith("blobs/")}
    assert s.verify(files).ok
    name = f"blobs/{sha256(b'aggregate 1')}"
    report = s.verify(prediction_bundle() | {name: b"aggregate 7"})
    assert report.broken is not None and report.broken.name == "round 1"
    assert "the record says" in report.broken.detail and "comity show" in report.hint


def test_another_genesis_is_refused() -> None:
    report = verify(prediction_bundle(), Hash32(bytes(32)))
    assert not report.ok and report.broken is not None and report.broken.name == "genesis"
    other = Consortium(time=START + 5)
    assert not verify(prediction_bundle() | {"genesis.json": other.genesis.encode()}, story().c.genesis_hash).ok


def test_every_file_is_needed_and_none_is_spare() -> None:
    s = story()
    for name in prediction_bundle():
        report = s.verify({n: b for n, b in prediction_bundle().items() if n != name})
        assert report.ok == name.startswith("blobs/"), name
    for name in ("extra.txt", "blobs/" + "0" * 64, "records/" + "0" * 64 + ".json", "headers/999.json"):
        report = s.verify(prediction_bundle() | {name: b"{}"})
        assert report.broken is not None and report.broken.name == "bundle"


def test_flipping_any_byte_breaks_it() -> None:
    """Each file at its ends and at seeded offsets, one bit or a whole byte."""
    s, files = story(), prediction_bundle()
    rng = random.Random(7)
    links: set[str] = set()
    for name in sorted(files):
        data = files[name]
        offsets = {0, len(data) - 1, *(rng.randrange(len(data)) for _ in range(FLIPS_PER_FILE))}
        for offset in sorted(offsets):
            mask = rng.choice([0xFF, *(1 << bit for bit in range(8))])
            broken = bytearray(data)
            broken[offset] ^= mask
            report = s.verify(files | {name: bytes(broken)})
            assert not report.ok, (name, offset, mask)
            assert report.broken is not None and report.broken.name and report.broken.detail and report.hint
            links.add(report.broken.name.split()[0])
    assert links >= {
        "genesis",
        "receipt",
        "anchored",
        "service",
        "model",
        "study",
        "round",
        "dataset",
        "grant",
        "vote",
        "approval",
    }


@given(st.sampled_from(sorted(prediction_bundle())), st.data())
def test_no_file_makes_it_crash(name: str, data: st.DataObject) -> None:
    """Bytes cut, inserted, doubled or replaced."""
    files = prediction_bundle()
    original = files[name]
    start = data.draw(st.integers(0, len(original)))
    stop = data.draw(st.integers(start, len(original)))
    middle = data.draw(
        st.binary(max_size=40) | st.sampled_from([b"[" * 5000, b"9" * 5000, b'"\\ud800"', b"null", b"-1", b'""'])
    )
    content = original[:start] + middle + original[stop:]
    assert story().verify(files | {name: content}).ok == (content == original)


@given(st.sampled_from(sorted(n for n in prediction_bundle() if n.endswith(".json"))), st.data())
def test_no_value_makes_it_crash(name: str, data: st.DataObject) -> None:
    """Well-formed JSON with another value in one place."""
    document = json.loads(prediction_bundle()[name])
    key = data.draw(st.sampled_from(sorted(document)))
    values = (
        st.none()
        | st.booleans()
        | st.integers(-5, 2**53 - 1)
        | st.text(max_size=70)
        | st.lists(st.text(max_size=4), max_size=3)
    )
    value = data.draw(values | st.sampled_from(["0" * 64, "ff", [], {}, [[]], ["0-0"], ["99-0"]]))
    content = changed(prediction_bundle(), name, **{key: value})
    assert story().verify(content).ok == (content[name] == prediction_bundle()[name])


@pytest.mark.parametrize(
    "name", ["prediction", "receipt", "model", "study", "dataset", "vote", "service", "proposal", "x"]
)
def test_a_bundle_cannot_claim_to_be_about_less(name: str) -> None:
    """A lying manifest that drops links proves nothing, as the files of the dropped links are spare."""
    kind = json.loads(prediction_bundle()["manifest.json"])["kind"]
    report = story().verify(changed(prediction_bundle(), "manifest.json", kind=name))
    assert report.ok == (name == kind)


def test_manifest_lies_are_named() -> None:
    s, files = story(), prediction_bundle()
    manifest = json.loads(files["manifest.json"])
    rounds = manifest["rounds"]
    some_vote = manifest["ballots"][0]
    lies = {
        "study": {"rounds": rounds[1:]},
        "round": {"rounds": [rounds[0], {**rounds[1], "events": rounds[1]["events"][:-1]}]},
        "model": {"rounds": rounds[::-1]},
        "service": {"ballots": manifest["ballots"][:1]},
        "data": {"datasets": manifest["datasets"][:-1]},
        "dataset": {"grants": []},
        "approval": {"approvals": [some_vote]},
        "vote": {"ballots": [*manifest["ballots"], manifest["approvals"][0]]},
        "genesis": {"admissions": [manifest["execution"]]},
    }
    for link, lie in lies.items():
        report = s.verify(changed(files, "manifest.json", **lie))
        assert report.broken is not None and report.broken.name.split()[0] == link, (link, report.broken)


def test_a_record_that_nobody_attested_is_no_round_even_with_the_attested_aggregate() -> None:
    """A proposer posts the right aggregate under a lie; nobody attests; the next one posts the same aggregate in truth."""
    c = Consortium()
    study = c.active_study(rounds=1)
    for step in (c.commit, c.reveal):
        for org in HOSPITALS:
            step(study, 1, org)
    lie = c.aggregate(study, 1, b"one", metrics={"accuracy": "1"})
    c.wait(60)
    c.send(N, "Studies", "retry", bytes.fromhex(study), 1)
    truth = c.aggregate(study, 1, b"one")
    for org in ORGS[:3]:
        c.attest(study, 1, org)

    def bundle(target: Digest) -> dict[str, bytes]:
        return collect(select(target, c.view), c.genesis.encode(), c.blocks.__getitem__, BLOBS.get)

    honest = bundle(study)
    assert verify(honest, c.genesis_hash).ok
    rounds = json.loads(honest["manifest.json"])["rounds"]
    told = bundle(lie) | changed(honest, "manifest.json", rounds=[{**rounds[0], "record": lie}])
    forged = {name: data for name, data in told.items() if name in honest or lie in name or name.startswith("headers/")}
    del forged[f"records/{truth}.json"]
    broken = verify(forged, c.genesis_hash).broken
    assert broken is not None and broken.name == "round 1" and "attested another record" in broken.detail


def test_revocations_are_shown_and_early_ones_break() -> None:
    c = Consortium()
    model = c.trained_model()
    (dataset,) = c.view.named(f"breast-{R}")
    c.anchor(R, "revocation", {"about": dataset.digest, "because": "erased on request"})
    files = collect(select(model, c.view), c.genesis.encode(), lambda h: c.blocks[h], BLOBS.get)
    report = verify(files, c.genesis_hash)
    assert report.ok and "revoked since: " + dataset.digest[:12] in report.checks[-1].detail


def test_predictions_that_are_not_the_anchored_ones() -> None:
    s, good = story(), story().prediction()
    doctored = canonical.encode(json.loads(good.receipt) | {"sequence": 14})
    for wrong, link in [
        (Prediction(good.receipt, good.batch, 2, good.path), "anchored"),
        (Prediction(s.leaves[2], good.batch, 3, good.path), "anchored"),
        (Prediction(doctored, good.batch, 3, good.path), "anchored"),
        (Prediction(good.receipt, good.batch, 3, good.path, request=b"another question"), "receipt"),
        (Prediction(good.receipt, good.batch, 3, good.path, response=b"another answer"), "receipt"),
        (Prediction(b"{}", good.batch, 3, good.path), "receipt"),
    ]:
        report = s.verify(s.bundle(prediction=wrong))
        assert report.broken is not None and report.broken.name.split()[0] == link
    with pytest.raises(BadEvidence, match="not anchored"):
        s.bundle(prediction=Prediction(good.receipt, s.model, 3, good.path))


# ── the zip ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_zip_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    path.write_bytes(write_zip(prediction_bundle()))
    assert read_zip(path) == prediction_bundle()
    assert write_zip(prediction_bundle()) == path.read_bytes()


def test_zip_limits(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(write_zip({"a": bytes(10_000_000), "b": b""}))
    assert path.stat().st_size < 20_000
    with pytest.raises(BadEvidence, match="too large"):
        read_zip(path, bytes_max=1_000_000)
    with pytest.raises(BadEvidence, match="too many"):
        read_zip(path, files_max=1)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a", "1")
        archive.writestr("a", "2")
    path.write_bytes(stream.getvalue())
    with pytest.raises(BadEvidence, match="twice"):
        read_zip(path)


def test_damaged_zips(tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    good = write_zip({"a.json": b"{}" * 50, "b.json": b"[]" * 50})
    rng = random.Random(3)
    for _ in range(400):
        data = bytearray(good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data))
        try:
            read_zip(path)
        except BadEvidence:
            continue
