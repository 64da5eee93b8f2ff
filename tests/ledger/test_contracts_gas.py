"""What each entry of the system contracts costs in gas, held below a bound."""

from __future__ import annotations

import pytest

from comity.record.digest import sha256
from comity.record.types import Digest
from support.consortium import ORGS, START, Consortium

N, R, L, H = ORGS


def raw(digest: Digest) -> bytes:
    return bytes.fromhex(digest)


@pytest.fixture
def c() -> Consortium:
    return Consortium()


GAS_MAX = {
    "Governance.admitMember": 340_000,
    "Governance.execute": 200_000,
    "Governance.propose": 200_000,
    "Governance.vote": 160_000,
    "Grants.grant": 280_000,
    "Grants.revoke": 140_000,
    "Records.anchor": 120_000,
    "Services.defineService": 160_000,
    "Services.receipts": 120_000,
    "Studies.aggregate": 200_000,
    "Studies.attest": 140_000,
    "Studies.close": 60_000,
    "Studies.commit": 130_000,
    "Studies.conclude": 130_000,
    "Studies.propose": 560_000,
    "Studies.retry": 80_000,
    "Studies.reveal": 110_000,
    "Studies.vote": 270_000,
}
"""Four members, three hospitals. The figures in docs/contracts.md are those that this test prints (-s)."""


def test_gas_stays_below_its_bounds(c: Consortium) -> None:
    service, model = c.service(), c.trained_model()
    c.deploy(service, model)
    c.anchor(
        L,
        "receipt",
        {"of": "predictions", "service": service, "model": model, "root": sha256(b""), "count": 1, "first": 0},
    )
    dataset = c.dataset(H, name="more")
    grant = c.anchor(H, "grant", {"dataset": dataset, "grantee": N, "purposes": ["diagnosis"], "until": START + 9000})
    c.anchor(H, "revocation", {"about": grant, "because": ""})
    member = {
        "name": "newcomer",
        "org": "0x" + c.address("newcomer").hex(),
        "validator": None,
        "endpoint": "127.0.0.1:7441",
    }
    admission = c.anchor(N, "proposal", {"action": "admit", "member": member, "nonce": 0})
    for org in (N, R, L):
        c.vote(org, "proposal", admission)
    c.send(N, "Governance", "execute", raw(admission))
    study = c.active_study(name="again")
    for org in (N, R):
        c.commit(study, 1, org)
    c.wait(60)
    c.send(N, "Studies", "close", raw(study), 1)
    for org in (N, R):
        c.reveal(study, 1, org)
    c.wait(60)
    c.send(N, "Studies", "retry", raw(study), 1)
    for name, gas in sorted(c.gas.items()):
        print(f"| {name} | {gas:,} |")
    assert c.gas.keys() == GAS_MAX.keys()
    assert {name: gas for name, gas in c.gas.items() if gas > GAS_MAX[name]} == {}
