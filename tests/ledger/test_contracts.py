"""The system contracts on the real EVM: what they allow, what they refuse and in which words, and what they cost."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import contracts
from comity.ledger.errors import ContractError
from comity.ledger.executor import Message
from comity.ledger.types import ZERO_ADDRESS, Log
from comity.record.digest import keccak256, sha256
from comity.record.types import Address, Digest, Hash32
from support.consortium import HOSPITALS, ORGS, START, Consortium, Refused

N, R, L, H = ORGS


def raw(digest: Digest) -> bytes:
    return bytes.fromhex(digest)


@pytest.fixture
def c() -> Consortium:
    return Consortium()


# ── the API ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_addresses_and_code() -> None:
    assert [s.name for s in contracts.SYSTEM] == list(contracts.NAMES)
    assert contracts.ADDRESS["Members"].hex() == "00000000000000000000000000000000c0000001"
    assert contracts.ADDRESS["Services"].hex() == "00000000000000000000000000000000c0000006"
    for system in contracts.SYSTEM:
        assert 0 < len(system.code) <= 24_576  # EIP-170
        assert json.loads((files(contracts) / "artefacts" / f"{system.name}.json").read_text())["compiler"].startswith(
            "0.8."
        )


def test_calls_round_trip() -> None:
    data = contracts.calldata("Studies", "commit", b"\1" * 32, 7, b"\2" * 32)
    call = contracts.decode_call(contracts.ADDRESS["Studies"], data)
    assert (call.name, call.function) == ("Studies", "commit")
    assert call.arguments == {"study": b"\1" * 32, "round": 7, "commitment": b"\2" * 32}
    roster = (Address(b"\7" * 20), Address(b"\x08" * 20))
    data = contracts.calldata("Studies", "propose", [b"\1" * 32], b"\2" * 32, roster, 1, 1, 60, b"payload", bytes(65))
    assert contracts.decode_call(contracts.ADDRESS["Studies"], data).arguments["roster"] == roster


@pytest.mark.parametrize(
    ("to", "data"),
    [
        (Address(b"\1" * 20), b""),
        (contracts.ADDRESS["Studies"], b""),
        (contracts.ADDRESS["Studies"], b"\0\0\0\0"),
        (contracts.ADDRESS["Studies"], contracts.calldata("Studies", "commit", b"\1" * 32, 7, b"\2" * 32)[:-1]),
        (contracts.ADDRESS["Studies"], contracts.calldata("Studies", "commit", b"\1" * 32, 7, b"\2" * 32) + b"\0"),
        (
            contracts.ADDRESS["Studies"],
            contracts.calldata("Studies", "commit", b"\1" * 32, 7, b"\2" * 32)[:36] + b"\xff" * 64,
        ),
        (contracts.ADDRESS["Records"], contracts.calldata("Records", "anchor", b"", b"p", bytes(65)) + bytes(200_000)),
    ],
)
def test_malformed_calls_are_refused(to: Address, data: bytes) -> None:
    with pytest.raises(ContractError):
        contracts.decode_call(to, data)


@given(st.sampled_from(contracts.SYSTEM), st.sampled_from(sorted(contracts._FUNCTIONS)), st.binary(max_size=400))
def test_decoding_any_bytes_gives_a_call_or_an_error(
    system: contracts.SystemContract, name: tuple[str, str], tail: bytes
) -> None:
    data = contracts._FUNCTIONS[name].selector[:4] + tail
    try:
        call = contracts.decode_call(system.address, data)
    except ContractError:
        return
    assert contracts.calldata(call.name, call.function, *call.arguments.values()) == data


@given(st.binary(max_size=200))
def test_error_text_never_fails(output: bytes) -> None:
    for prefix in ("", "08c379a0", "4e487b71"):
        assert contracts.error_text(bytes.fromhex(prefix) + output)


def test_arguments_of_the_wrong_type() -> None:
    for arguments in [(), (b"\1" * 32, -1, b""), (b"\1" * 32, 2**32, b""), ("x", 1, b""), (b"\1" * 33, 1, b"")]:
        with pytest.raises(ContractError):
            contracts.calldata("Studies", "commit", *arguments)
    with pytest.raises(ContractError):
        contracts.calldata("Studies", "nothing")


def test_names() -> None:
    assert contracts.name_of(contracts.name32("diagnosis")) == "diagnosis"
    for name in ("", "x" * 33, "é", "a\0b"):
        with pytest.raises(ContractError):
            contracts.name32(name)
    with pytest.raises(ContractError):
        contracts.name_of(b"\xff" * 32)


def test_logs_of_others_are_no_events() -> None:
    foreign = Log(Address(b"\1" * 20), (keccak256(b"StudyActive(bytes32)"), Hash32(bytes(32))), b"")
    assert contracts.decode_log(foreign) is None
    ours = Log(contracts.ADDRESS["Studies"], (keccak256(b"StudyActive(bytes32)"), Hash32(b"\1" * 32)), b"")
    assert contracts.decode_log(ours) == contracts.Event("Studies", "StudyActive", {"study": b"\1" * 32})
    with pytest.raises(ContractError):
        contracts.decode_log(Log(ours.address, ours.topics[:1], b""))


# ── members and records ──────────────────────────────────────────────────────────────────────────────────────────────
def test_genesis_members(c: Consortium) -> None:
    assert (c.read("Members", "count"), c.read("Members", "validatorCount")) == (4, 4)
    assert c.read("Members", "orgAt", 0) == c.address(N) and c.read("Members", "orgOf", R) == c.address(R)
    assert c.read("Members", "nameOf", c.address(L)) == L
    assert c.read("Members", "isValidator", c.validator_of(H)) and not c.read(
        "Members", "isMember", c.address("stranger")
    )
    for caller in ("stranger", N):
        with pytest.raises(Refused, match="already initialised"):
            c.send(caller, "Members", "initialize", [("x", c.address("stranger"), ZERO_ADDRESS, "")])
        with pytest.raises(Refused, match="only a passed vote admits"):
            c.send(caller, "Members", "admit", "x", c.address("stranger"), ZERO_ADDRESS, "")


def test_anchoring_takes_members_and_fresh_payloads(c: Consortium) -> None:
    kind = contracts.name32("dataset")
    c.follow = False
    c.send(N, "Records", "anchor", kind, b"payload", bytes(65))
    found = Message(
        ZERO_ADDRESS, contracts.ADDRESS["Records"], contracts.calldata("Records", "record", raw(sha256(b"payload")))
    )
    output = c.executor.call(found, c._environment(9)).output
    assert contracts.decode_output("Records", "record", output) == (1, kind, c.address(N))
    for org, payload, signature, reason in [
        (N, b"payload", bytes(65), "anchored already"),
        (R, b"payload", bytes(65), "anchored already"),
        ("stranger", b"other", bytes(65), "not a member"),
        (N, b"", bytes(65), "1 to 65536 bytes"),
        (N, bytes(65537), bytes(65), "1 to 65536 bytes"),
        (N, b"other", bytes(64), "signature is 65 bytes"),
    ]:
        with pytest.raises(Refused, match=reason):
            c.send(org, "Records", "anchor", kind, payload, signature)
    for other in ("study", "vote", "model", "grant", "round", "service", "proposal", "revocation", "nonsense"):
        with pytest.raises(Refused, match="its own contract"):
            c.send(N, "Records", "anchor", contracts.name32(other), b"other", bytes(65))
    with pytest.raises(Refused, match="only a system contract"):
        c.send(N, "Records", "place", kind, c.address(N), b"other")


def test_a_contract_cannot_stand_between(c: Consortium) -> None:
    # Calldata forwarded to the address in the first 20 bytes; reverts with what comes back.
    proxy = bytes.fromhex("601436036014600037600080601436036000346000355060003560601c5af13d600060003e3d6000fd")
    init = bytes.fromhex(f"60{len(proxy):02x}600c60003960{len(proxy):02x}6000f3") + proxy
    environment = c._environment(1)
    tx = c.transaction(N, Address(b""), init)
    created = c.executor.execute(tx, environment).result.contract
    assert created is not None
    inner = contracts.calldata("Studies", "commit", b"\1" * 32, 1, b"\2" * 32)
    through = c.transaction(N, created, contracts.ADDRESS["Studies"] + inner)
    result = c.executor.execute(through, environment).result
    assert not result.succeeded and contracts.error_text(result.output).startswith(
        "a system contract is called directly"
    )


# ── grants ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_grants_cover_until_they_end_or_are_revoked(c: Consortium) -> None:
    dataset = c.dataset(H)
    diagnosis = contracts.name32("diagnosis")

    def covers(org: str, purpose: bytes = diagnosis) -> bool:
        return (
            bool(c.read("Grants", "covers", raw(dataset), c.address(org), purpose))
            is c.view.covers(dataset, org, contracts.name_of(purpose))
            is True
        )

    spec = {"dataset": dataset, "grantee": N, "purposes": ["diagnosis", "care"], "until": START + 1000}
    assert covers(H) and not covers(N)
    grant = c.anchor(H, "grant", spec)
    assert covers(N) and covers(N, contracts.name32("care"))
    assert not covers(N, contracts.name32("advertising")) and not covers(R)
    everyone = c.anchor(H, "grant", spec | {"grantee": "*", "until": START + 100})
    assert covers(R)
    c.wait(200)
    c.dataset(R)  # a block at the later time
    assert not covers(R) and covers(N)
    with pytest.raises(Refused, match="only its own organisation"):
        c.anchor(N, "revocation", {"about": grant, "because": ""})
    c.anchor(H, "revocation", {"about": grant, "because": "consent withdrawn"})
    assert not covers(N)
    with pytest.raises(Refused, match="revoked already"):
        c.anchor(H, "revocation", {"about": grant, "because": "again"})
    c.anchor(H, "revocation", {"about": dataset, "because": "erased"})
    assert not covers(H)
    assert c.view.grants[everyone].revoked_at is None and set(c.view.revoked) == {grant, dataset}


def test_grants_that_are_refused(c: Consortium) -> None:
    dataset = c.dataset(H)
    spec = {"dataset": dataset, "grantee": N, "purposes": ["diagnosis"], "until": START + 1000}
    with pytest.raises(Refused, match="only the dataset's organisation"):
        c.anchor(N, "grant", spec | {"grantee": R})
    with pytest.raises(Refused, match="about a dataset"):
        c.anchor(H, "grant", spec | {"dataset": sha256(b"nothing")})
    with pytest.raises(Refused, match="end before it begins"):
        c.anchor(H, "grant", spec | {"until": START})
    with pytest.raises(Refused, match="no such record"):
        c.anchor(H, "revocation", {"about": sha256(b"nothing"), "because": ""})
    for i in range(16):
        c.anchor(H, "grant", spec | {"until": START + 100 + i})
    with pytest.raises(Refused, match="16 such grants"):
        c.anchor(H, "grant", spec | {"until": START + 900})
    c.wait(500)
    c.anchor(H, "grant", spec | {"until": START + 900})  # the dead ones make room


# ── studies ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_study_from_proposal_to_model(c: Consortium) -> None:
    study = c.active_study()
    assert c.view.studies[study].phase == "active" and c.view.studies[study].waiting_for == ()
    c.run_round(study, 1, b"one")
    assert [f.index for f in c.view.studies[study].finals] == [1]
    with pytest.raises(Refused, match="rounds are done"):
        c.anchor(N, "model", c.model_spec(study, b"one", b"onnx"))
    c.run_round(study, 2, b"two")
    assert c.view.studies[study].phase == "done" and c.view.studies[study].weights == sha256(b"two")
    with pytest.raises(Refused, match="not the last final aggregate"):
        c.anchor(N, "model", c.model_spec(study, b"one", b"onnx"))
    with pytest.raises(Refused, match="only the study's organisation"):
        c.anchor(R, "model", c.model_spec(study, b"two", b"onnx"))
    model = c.anchor(N, "model", c.model_spec(study, b"two", b"onnx"))
    assert c.view.studies[study].model == model and c.view.studies[study].phase == "concluded"
    with pytest.raises(Refused, match="and once"):
        c.anchor(N, "model", c.model_spec(study, b"two", b"onnx2"))


def test_one_refusal_ends_a_study(c: Consortium) -> None:
    datasets = [c.dataset(o, name=f"d-{o}") for o in HOSPITALS]
    study = c.anchor(N, "study", c.study_spec(datasets))
    with pytest.raises(Refused, match="approved already"):
        c.vote(N, "study", study)
    with pytest.raises(Refused, match="not on the roster"):
        c.vote(H, "study", study)
    with pytest.raises(Refused, match="no such study"):
        c.vote(R, "study", datasets[0])
    with pytest.raises(Refused, match="not active"):
        c.commit(study, 1, N)
    c.vote(R, "study", study, "refuse", "too many rounds")
    assert c.view.studies[study].phase == "refused"
    with pytest.raises(Refused, match="vote on this study is over"):
        c.vote(L, "study", study)


def test_studies_that_cannot_be_proposed(c: Consortium) -> None:
    ours, theirs = c.dataset(N), c.dataset(H, name="other")
    with pytest.raises(Refused, match="no grant covers a dataset"):
        c.anchor(N, "study", c.study_spec([ours, theirs]))
    with pytest.raises(Refused, match="reads datasets"):
        c.anchor(N, "study", c.study_spec([sha256(b"nothing")]))
    with pytest.raises(Refused, match="1 to 10000 rounds"):
        c.anchor(N, "study", c.study_spec([ours], rounds=10_001))
    with pytest.raises(Refused, match="30 days"):
        c.anchor(N, "study", c.study_spec([ours], round_timeout_s=0))
    c.anchor(H, "grant", {"dataset": theirs, "grantee": N, "purposes": ["diagnosis"], "until": START + 900})
    study = c.anchor(N, "study", c.study_spec([ours, theirs]))
    assert c.view.studies[study].phase == "proposed"
    with pytest.raises(Refused, match="no grant covers"):
        c.anchor(N, "study", c.study_spec([theirs], purpose="advertising"))


def test_an_observer_may_propose_for_others(c: Consortium) -> None:
    study = c.anchor(H, "study", c.study_spec([c.dataset(N)], roster=[N, R], quorum=1))
    assert c.view.studies[study].waiting_for == (N, R)
    c.vote(N, "study", study)
    c.vote(R, "study", study)
    assert c.view.studies[study].phase == "active"


def test_revoked_permission_stops_commits(c: Consortium) -> None:
    theirs = c.dataset(H, name="other")
    grant = c.anchor(H, "grant", {"dataset": theirs, "grantee": N, "purposes": ["diagnosis"], "until": START + 900})
    datasets = [theirs, *(c.dataset(o, name=f"d-{o}") for o in HOSPITALS)]
    study = c.anchor(N, "study", c.study_spec(datasets))
    vote = c.vote(R, "study", study)
    c.vote(L, "study", study)
    c.anchor(R, "revocation", {"about": vote, "because": "second thoughts"})
    with pytest.raises(Refused, match="revoked its approval"):
        c.commit(study, 1, R)
    c.anchor(L, "revocation", {"about": datasets[3], "because": "erased"})
    with pytest.raises(Refused, match="revoked its dataset"):
        c.commit(study, 1, L)
    c.commit(study, 1, N)
    assert c.view.studies[study].phase == "training"
    c.anchor(H, "revocation", {"about": grant, "because": "over"})
    for org in (R, L):
        with pytest.raises(Refused, match=r"revoked|no grant covers"):
            c.commit(study, 1, org)


def test_an_approval_revoked_before_the_last_vote(c: Consortium) -> None:
    datasets = [c.dataset(o, name=f"d-{o}") for o in HOSPITALS]
    study = c.anchor(N, "study", c.study_spec(datasets))
    vote = c.vote(R, "study", study)
    c.anchor(R, "revocation", {"about": vote, "because": ""})
    with pytest.raises(Refused, match="an approval was revoked"):
        c.vote(L, "study", study)


def test_commit_and_reveal(c: Consortium) -> None:
    study = c.active_study()
    with pytest.raises(Refused, match="another phase"):
        c.reveal(study, 1, N)
    with pytest.raises(Refused, match="another round"):
        c.commit(study, 2, N)
    c.commit(study, 1, N)
    with pytest.raises(Refused, match="committed already"):
        c.commit(study, 1, N)
    with pytest.raises(Refused, match="not on the roster"):
        c.commit(study, 1, H)
    with pytest.raises(Refused, match="not zero"):
        c.send(R, "Studies", "commit", raw(study), 1, bytes(32))
    # A copied commitment is bound to its maker and cannot be revealed by another.
    update, salt = c.update(1, N)
    c.send(R, "Studies", "commit", raw(study), 1, raw(sha256(update + salt + c.address(N))))
    c.commit(study, 1, L)
    with pytest.raises(Refused, match="not what was committed"):
        c.send(R, "Studies", "reveal", raw(study), 1, update, salt, 1)
    for weight in (0, 2**40 + 1):
        with pytest.raises(Refused, match="weight lies between"):
            c.reveal(study, 1, N, weight)
    c.reveal(study, 1, N, 2**40)
    with pytest.raises(Refused, match="revealed already"):
        c.reveal(study, 1, N)
    with pytest.raises(Refused, match="time is not over"):
        c.send(N, "Studies", "close", raw(study), 1)


def test_a_round_goes_on_without_the_late(c: Consortium) -> None:
    study = c.active_study()
    c.commit(study, 1, N)
    c.wait(60)
    with pytest.raises(Refused, match="fewer than the quorum have committed"):
        c.send(N, "Studies", "close", raw(study), 1)
    c.commit(study, 1, R)
    with pytest.raises(Refused, match="not on the roster"):
        c.send(H, "Studies", "close", raw(study), 1)
    c.send(L, "Studies", "close", raw(study), 1)
    with pytest.raises(Refused, match="has not committed"):
        c.reveal(study, 1, L)
    c.reveal(study, 1, N)
    c.wait(60)
    with pytest.raises(Refused, match="fewer than the quorum have revealed"):
        c.send(N, "Studies", "close", raw(study), 1)
    c.reveal(study, 1, R)  # late but here: with it all who committed have revealed
    it = c.view.studies[study].round
    assert it is not None and it.phase == "aggregate" and it.proposer in (N, R) and set(it.reveals) == {N, R}
    with pytest.raises(Refused, match="nothing to close"):
        c.send(N, "Studies", "close", raw(study), 1)


def elected(c: Consortium, study: Digest, index: int, attempt: int, roster: tuple[str, ...] = HOSPITALS) -> str:
    """The election as the specification says it."""
    salts = bytes(32)
    for org in roster:
        salts = bytes(a ^ b for a, b in zip(salts, c.update(index, org)[1], strict=True))
    seed = int.from_bytes(keccak256(raw(study) + index.to_bytes(32, "big") + salts), "big") % len(roster)
    return roster[(seed + attempt) % len(roster)]


def test_election_and_rotation(c: Consortium) -> None:
    study = c.active_study(rounds=5)
    with pytest.raises(Refused, match="not elected a proposer"):
        c.read("Studies", "proposerOf", raw(study), 1, 0)
    for index in range(1, 5):
        for step in (c.commit, c.reveal):
            for org in HOSPITALS:
                step(study, index, org)
        it = c.view.studies[study].round
        assert it is not None and it.proposer == elected(c, study, index, 0)
        other = next(o for o in HOSPITALS if o != it.proposer)
        with pytest.raises(Refused, match="another organisation was elected"):
            c.aggregate(study, index, b"x", other)
        with pytest.raises(Refused, match="proposer's time is not over"):
            c.send(other, "Studies", "retry", raw(study), index)
        c.wait(60)
        c.send(other, "Studies", "retry", raw(study), index)
        assert it.attempt == 1 and it.proposer == elected(c, study, index, 1)
        c.aggregate(study, index, b"wrong")
        with pytest.raises(Refused, match="another round record was posted"):
            c.attest(study, index, H, sha256(b"right"))
        c.attest(study, index, H)
        c.wait(60)
        c.send(other, "Studies", "retry", raw(study), index)  # no quorum for it in time
        assert it.attestations == [] and it.aggregate is None
        assert c.address(elected(c, study, index, 2)) == c.read("Studies", "proposerOf", raw(study), index, 2)
        with pytest.raises(Refused, match="this attempt is over"):
            c.aggregate(study, index, b"late", attempt=1)
        c.aggregate(study, index, b"right%d" % index)
        for org in (H, N):
            c.attest(study, index, org)
        with pytest.raises(Refused, match="attested already"):
            c.attest(study, index, N)
        assert not c.view.studies[study].finals[index - 1 :]
        c.attest(study, index, R)
        final = c.view.studies[study].finals[-1]
        assert (final.index, final.attempt, final.attestations) == (index, 2, (H, N, R))


def test_an_attestation_is_of_one_record_not_of_all_with_its_aggregate(c: Consortium) -> None:
    study = c.active_study()
    for step in (c.commit, c.reveal):
        for org in HOSPITALS:
            step(study, 1, org)
    lie = c.aggregate(study, 1, b"one", metrics={"loss": "0.001"})
    c.wait(60)
    c.send(N, "Studies", "retry", raw(study), 1)
    truth = c.aggregate(study, 1, b"one")
    with pytest.raises(Refused, match="another round record was posted"):
        c.attest(study, 1, H, lie)
    c.attest(study, 1, H, truth)


def test_a_withdrawn_study_stops(c: Consortium) -> None:
    study, waiting = c.active_study(), c.anchor(N, "study", c.study_spec([c.dataset(N, name="more")], name="other"))
    c.commit(study, 1, N)
    for about in (study, waiting):
        c.anchor(N, "revocation", {"about": about, "because": "a mistake"})
    assert not c.view.studies[study].running and c.view.studies[waiting].waiting_for == ()
    for refused in (
        lambda: c.commit(study, 1, R),
        lambda: c.send(N, "Studies", "close", raw(study), 1),
        lambda: c.vote(R, "study", waiting),
    ):
        with pytest.raises(Refused, match="the study was withdrawn"):
            refused()


def test_only_validators_attest() -> None:
    c = Consortium(without_validator=frozenset({L}))
    study = c.active_study()
    for step in (c.commit, c.reveal):
        for org in HOSPITALS:
            step(study, 1, org)
    c.aggregate(study, 1, b"one")
    with pytest.raises(Refused, match="only a validator's organisation"):
        c.attest(study, 1, L)
    c.attest(study, 1, N)
    c.attest(study, 1, R)
    assert not c.view.studies[study].finals  # two of three is not more than two thirds
    c.attest(study, 1, H)
    assert c.view.studies[study].finals


# ── services and governance ──────────────────────────────────────────────────────────────────────────────────────────
def test_deploying_takes_votes_and_time(c: Consortium) -> None:
    model, service = c.trained_model(), c.service()
    with pytest.raises(Refused, match="another model than the proposal says"):
        c.propose(service, model, previous=model)
    with pytest.raises(Refused, match="no such service"):
        c.propose(model, model)
    with pytest.raises(Refused, match="about a model"):
        c.propose(service, service)
    proposal = c.propose(service, model)
    with pytest.raises(Refused, match="has passed"):
        c.send(N, "Governance", "execute", raw(proposal))
    for org in (N, R):
        c.vote(org, "proposal", proposal)
    with pytest.raises(Refused, match="voted already"):
        c.vote(R, "proposal", proposal, "refuse", "no, wait")
    assert c.view.proposals[proposal].phase == "open"
    passing = c.time
    c.vote(L, "proposal", proposal)
    assert c.view.proposals[proposal].phase == "passed" and c.view.proposals[proposal].ready_at == passing + 5
    c.vote(H, "proposal", proposal, "refuse", "late")  # kept, and changes nothing
    with pytest.raises(Refused, match="time lock is not over"):
        c.send(N, "Governance", "execute", raw(proposal))
    c.time = passing + 5
    with pytest.raises(Refused, match="not a member"):
        c.send("stranger", "Governance", "execute", raw(proposal))
    c.send(H, "Governance", "execute", raw(proposal))
    current = c.view.services[service].current
    assert current is not None and (current.model, current.proposal) == (model, proposal)
    with pytest.raises(Refused, match="has passed, and once"):
        c.send(H, "Governance", "execute", raw(proposal))
    with pytest.raises(Refused, match="vote on this proposal is over"):
        c.vote(H, "proposal", proposal)
    with pytest.raises(Refused, match="only a passed vote"):
        c.send(N, "Services", "point", raw(service), raw(model), raw(proposal))


def test_rolling_back_and_racing(c: Consortium) -> None:
    first, second = c.trained_model(), c.trained_model("other")
    service = c.service(approvals=1, time_lock_s=0)
    c.deploy(service, first, voters=[N])
    slow = c.propose(service, second, previous=first, org=R)
    c.deploy(service, second, previous=first, voters=[N])
    c.deploy(service, first, previous=second, voters=[N])  # back
    c.vote(R, "proposal", slow)
    c.send(R, "Governance", "execute", raw(slow))  # first is current again, as it says
    stale = c.propose(service, first, previous=second, org=L)
    c.vote(N, "proposal", stale)
    c.anchor(L, "revocation", {"about": stale, "because": "withdrawn"})
    with pytest.raises(Refused, match="withdrawn"):
        c.send(N, "Governance", "execute", raw(stale))
    assert [p.model for p in c.view.services[service].history] == [first, second, first, second]


def test_a_vote_never_replaces_a_model_unseen(c: Consortium) -> None:
    first, second = c.trained_model(), c.trained_model("other")
    service = c.service(approvals=1, time_lock_s=0)
    one, two = c.propose(service, first), c.propose(service, second)
    for proposal in (one, two):
        c.vote(N, "proposal", proposal)
    c.send(N, "Governance", "execute", raw(one))
    with pytest.raises(Refused, match="another model than the proposal says"):
        c.send(N, "Governance", "execute", raw(two))


def test_refusal_when_approval_is_out_of_reach(c: Consortium) -> None:
    model, service = c.trained_model(), c.service()
    proposal = c.propose(service, model)
    c.vote(N, "proposal", proposal, "refuse", "unfair")
    assert c.view.proposals[proposal].phase == "open"
    c.vote(R, "proposal", proposal, "refuse", "unfair")
    assert c.view.proposals[proposal].phase == "refused"
    with pytest.raises(Refused, match="is over"):
        c.vote(L, "proposal", proposal)


def test_services_and_batches(c: Consortium) -> None:
    model, service = c.trained_model(), c.service()
    with pytest.raises(Refused, match="of this name exists"):
        c.anchor(R, "service", {"name": "triage", "approvals": 1, "time_lock_s": 0})
    with pytest.raises(Refused, match="between 1 and the number"):
        c.service("many", approvals=5)
    with pytest.raises(Refused, match="at most a year"):
        c.service("slow", time_lock_s=366 * 86400)
    batch = {"of": "predictions", "service": service, "model": model, "root": sha256(b"root"), "count": 3, "first": 0}
    with pytest.raises(Refused, match="never pointed"):
        c.anchor(L, "receipt", batch)
    c.deploy(service, model)
    digest = c.anchor(L, "receipt", batch)
    (found,) = c.view.services[service].batches
    assert (found.record, found.org, found.count) == (digest, L, 3)


def test_admitting_a_member(c: Consortium) -> None:
    member = {
        "name": "newcomer",
        "org": "0x" + c.address("newcomer").hex(),
        "validator": None,
        "endpoint": "127.0.0.1:7441",
    }
    proposal = c.anchor(N, "proposal", {"action": "admit", "member": member, "nonce": 0})
    assert c.view.proposals[proposal].need == 3
    for org in (N, R, L):
        assert "newcomer" not in c.view.members
        c.vote(org, "proposal", proposal)
    c.send(N, "Governance", "execute", raw(proposal))
    assert c.view.members["newcomer"].org == c.address("newcomer")
    assert (c.read("Members", "count"), c.read("Members", "validatorCount")) == (5, 4)
    c.dataset("newcomer")
    with pytest.raises(Refused, match="member already"):
        c.anchor(N, "proposal", {"action": "admit", "member": member | {"endpoint": "127.0.0.1:1"}, "nonce": 0})
    taken = c.anchor(N, "proposal", {"action": "admit", "member": member | {"org": "0x" + "77" * 20}, "nonce": 0})
    for org in (N, R, L):
        c.vote(org, "proposal", taken)
    with pytest.raises(Refused, match="name is taken"):
        c.send(N, "Governance", "execute", raw(taken))
