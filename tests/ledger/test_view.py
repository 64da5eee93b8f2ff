"""The fold: the view says what the contracts say, block by block, and the same blocks give the same view."""

from __future__ import annotations

import pytest

from comity.ledger import contracts, transaction
from comity.ledger.errors import InvalidBlock
from comity.ledger.view import FOUND_MAX, View
from comity.record.digest import sha256
from support.consortium import CHAIN_ID, HOSPITALS, ORGS, START, Consortium, Refused

N, R, L, H = ORGS


def refold(c: Consortium) -> View:
    """A new view over the same blocks, as a restarted node makes it."""
    view = View(c.genesis.members)
    for sealed, receipts in c.blocks:
        view.apply(sealed, receipts, [transaction.decode(raw, chain_id=CHAIN_ID) for raw in sealed.block.transactions])
    return view


def test_founders() -> None:
    c = Consortium(without_validator=frozenset({H}))
    assert list(c.view.members) == list(ORGS) and c.view.members_by_name[N] == c.address(N)
    assert c.view.members[H].validator is None and c.view.members[N].place is None
    assert c.view.name_of(c.address(R)) == R and c.view.name_of(c.address("stranger")).startswith("0x")


def test_refolding_gives_the_same() -> None:
    c = Consortium()
    model, service = c.trained_model(), c.service()
    c.deploy(service, model)
    again = refold(c)
    for name, value in vars(c.view).items():
        assert vars(again)[name] == value, name
    assert (again.height, again.time) == (len(c.blocks) - 1, c.time - 1)


def test_blocks_come_in_order() -> None:
    c = Consortium()
    c.dataset(N)
    with pytest.raises(InvalidBlock, match="does not follow"):
        c.view.apply(*c.blocks[1], [])
    late = View(c.genesis.members)
    c.dataset(R)
    with pytest.raises(InvalidBlock, match="does not follow"):
        late.apply(*c.blocks[2], [])


def test_failed_transactions_leave_no_trace() -> None:
    c = Consortium()
    before = c.dataset(N)
    with pytest.raises(Refused):
        c.anchor(R, "grant", {"dataset": before, "grantee": N, "purposes": ["diagnosis"], "until": START + 9})
    assert list(c.view.records) == [before] and not c.view.grants and c.view.height == 2


def test_records_and_how_to_find_them() -> None:
    c = Consortium()
    digests = [c.dataset(N, name="breast", version=v) for v in (1, 2)]
    other = c.dataset(R, name="breast")
    anchored = c.view.records[digests[1]]
    assert (anchored.kind, anchored.org, anchored.height, anchored.index, anchored.time) == (
        "dataset",
        N,
        2,
        0,
        START + 1,
    )
    assert anchored.envelope.signer() == c.address(N) and anchored.envelope.digest == digests[1]
    assert c.view.find(other[:4])[0].digest == other and c.view.find(other)[0].digest == other
    assert c.view.find(other[:3]) == () and c.view.find("zzzz") == () and c.view.find("0" * 64) == ()
    assert (
        [a.digest for a in c.view.named("breast")] == [*digests, other] == [a.digest for a in c.view.of_kind("dataset")]
    )
    study = c.anchor(N, "study", c.study_spec([digests[0]], [N, R]))
    assert c.view.referrers(digests[0]) == (study,) and c.view.referrers(study) == ()
    assert FOUND_MAX >= 10


def test_the_inbox() -> None:
    c = Consortium()
    data = [c.dataset(o, name=f"d-{o}") for o in HOSPITALS]
    study = c.anchor(N, "study", c.study_spec(data))
    assert [a.digest for a in c.view.pending_for(R)] == [study]
    assert c.view.pending_for(N) == () == c.view.pending_for(H) == c.view.pending_for("nobody")
    c.vote(R, "study", study)
    assert c.view.pending_for(R) == () and c.view.studies[study].waiting_for == (L,)
    c.vote(L, "study", study)
    for index in (1, 2):
        c.run_round(study, index, b"aggregate %d" % index)
    model = c.anchor(N, "model", c.model_spec(study, b"aggregate 2", b"onnx"))
    service = c.service()
    proposal = c.propose(service, model)
    assert all([a.digest for a in c.view.pending_for(o)] == [proposal] for o in ORGS)
    c.vote(H, "proposal", proposal, "refuse", "not yet")
    assert c.view.pending_for(H) == ()
    (vote,) = c.view.votes(proposal)
    assert (vote.org, vote.approve, vote.by, vote.because) == (H, False, f"someone@{H}", "not yet")
    assert c.view.votes(sha256(b"nothing")) == ()
    c.anchor(N, "revocation", {"about": proposal, "because": "withdrawn"})
    assert c.view.pending_for(R) == () and c.view.proposals[proposal].withdrawn


def test_a_round_step_by_step() -> None:
    c = Consortium()
    study = c.active_study()
    state = c.view.studies[study]
    it = state.round
    assert it is not None and state.running and (it.index, it.phase, it.since) == (1, "commit", c.time - 1)
    c.commit(study, 1, N)
    assert state.phase == "training" and set(it.commitments) == {N}
    update, salt = c.update(1, N)
    assert it.commitments[N].hex() == sha256(update + salt + c.address(N))
    c.commit(study, 1, R)
    c.commit(study, 1, L)
    assert str(it.phase) == "reveal" and it.since == c.time - 1
    c.reveal(study, 1, N, 7)
    assert (it.reveals[N].update, it.reveals[N].weight, it.reveals[N].salt) == (update.hex(), 7, salt)
    c.reveal(study, 1, R)
    c.reveal(study, 1, L)
    assert str(it.phase) == "aggregate" and it.proposer in HOSPITALS and it.attempt == 0
    record = c.aggregate(study, 1, b"one")
    assert (str(it.phase), it.aggregate, it.record) == ("attest", sha256(b"one"), record)
    for org in (N, H, R):
        assert not state.finals
        c.attest(study, 1, org)
    (final,) = state.finals
    assert (final.index, final.aggregate, final.record, final.attestations) == (1, sha256(b"one"), record, (N, H, R))
    assert set(final.reveals) == set(HOSPITALS) and len(final.places) == 6
    following = c.view.studies[study].round
    assert following is not None and (following.index, str(following.phase), str(it.phase)) == (2, "commit", "final")


def test_services_remember_their_models() -> None:
    c = Consortium()
    first, second = c.trained_model(), c.trained_model("other")
    service = c.service()
    state = c.view.services[service]
    assert state.history == [] and c.view.service_named("triage") is state
    assert c.view.service_named("nothing") is None
    c.deploy(service, first)
    proposal = c.deploy(service, second, previous=first)
    assert [p.model for p in state.history] == [first, second]
    assert state.model == second and state.current == state.history[-1]
    assert (state.history[-1].proposal, state.history[-1].since) == (proposal, c.time - 1)
    done = c.view.proposals[proposal]
    assert (done.phase, done.approvals, done.execution) == ("executed", 3, (len(c.blocks) - 1, 0))


def test_it_agrees_with_the_contract() -> None:
    """After each block of a busy life: status, round, phase and attempt of the study as the contract has them."""
    c = Consortium()
    study = c.active_study(rounds=2)
    phases = {"commit": 1, "reveal": 2, "aggregate": 3, "attest": 4, "final": 5}
    statuses = {"proposed": 1, "active": 2, "training": 2, "refused": 3, "done": 4, "concluded": 5}

    def agree() -> None:
        state = c.view.studies[study]
        assert state.round is not None
        data = contracts.calldata("Studies", "statusOf", bytes.fromhex(study))
        from comity.ledger.executor import Message

        output = c.executor.call(Message(bytes(20), contracts.ADDRESS["Studies"], data), c._environment(1)).output  # type: ignore[arg-type]
        status, index, phase, attempt, since, last = contracts.decode_output("Studies", "statusOf", output)
        it = state.round
        assert (statuses[state.phase], it.index, phases[it.phase], it.attempt, it.since) == (
            status,
            index,
            phase,
            attempt,
            since,
        )
        assert (state.weights or "0" * 64) == last.hex()

    agree()
    for index in (1, 2):
        for step in (c.commit, c.reveal):
            for org in HOSPITALS:
                step(study, index, org)
                agree()
        c.wait(60)
        c.send(R, "Studies", "retry", bytes.fromhex(study), index)
        agree()
        c.aggregate(study, index, b"a%d" % index)
        agree()
        for org in ORGS[:3]:
            c.attest(study, index, org)
            agree()
    c.anchor(N, "model", c.model_spec(study, b"a2", b"onnx"))
    agree()
