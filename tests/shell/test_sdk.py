"""The Python client: typed results, one exception tree, public names as listed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import comity
from comity import Client
from comity.shell import errors
from comity.shell.results import Study
from support.fake_node import TOKEN, Failure, FakeNode
from support.world import blob


def test_public_names() -> None:
    assert comity.__all__ == ["Client", "__version__"]
    assert dir(comity) == sorted(comity.__all__)
    with pytest.raises(AttributeError):
        comity.Nothing  # noqa: B018
    verbs = {name for name in vars(Client) if not name.startswith("_")}
    assert verbs == {
        "add_blob",
        "add_dataset",
        "approve",
        "blocks",
        "connect",
        "define_service",
        "deploy",
        "doctor",
        "export",
        "get",
        "grant",
        "inbox",
        "lineage",
        "login",
        "members",
        "post",
        "predict",
        "proposal",
        "records",
        "refuse",
        "revoke",
        "run",
        "services",
        "show",
        "status",
        "study",
        "task",
        "train",
        "verify",
        "watch",
    }


def test_the_story(node: FakeNode) -> None:
    client = Client.connect("northfield")
    status = client.status()
    assert (status.org, status.ledger.quorum, status.peers.connected) == ("northfield", 3, 3)
    data = client.add_dataset(b"a\n1\n", name="lungs", purposes=["diagnosis"], licence="CC0-1.0", consent="broad")
    assert (data.title, data.kind, data.state) == ("lungs@1", "dataset", "current")
    study = client.train("lungs", code=b"x = 1", datasets=[data], roster=["northfield"], purpose="diagnosis", rounds=3)
    assert isinstance(study, Study)
    assert (study.state, study.roster[0].choice) == ("waiting", None)
    assert client.approve(study).spec["about"] == study.record.digest
    proposal = client.deploy("breast-mlp@1", service="triage")
    assert [one.metrics["accuracy"] for one in proposal.evaluations] == ["0.9650", "0.9720", "0.9680"]
    answer = client.predict("triage", [[1, 2, 3, 4], [1, 2, 3, 4]])
    assert answer.outputs == {"label": [1, 1], "probability": [[0.017, 0.983], [0.017, 0.983]]}
    assert answer.receipt == blob("prediction")
    assert client.verify(study)
    assert client.export("breast-mlp@1").startswith(b"PK")
    assert client.show(data).record == data
    assert client.show("breast-mlp@1").record.kind == "model"
    assert {node.title for node in client.lineage("triage").nodes} >= {"triage", "deploy"}
    assert [service.name for service in client.services()] == ["triage"]
    assert sum(member.here for member in client.members()) == 1
    assert next(iter(client.blocks())).height == node.world.height
    assert len(client.inbox()) == 3


def test_records_come_page_by_page(node: FakeNode) -> None:
    client = Client.connect("northfield")
    assert len(list(client.records())) == len(node.world.briefs)
    assert len(list(client.records(limit=7))) == 7
    assert [record.org for record in client.records(kind="dataset", org="lakeside")] == ["lakeside"]


def test_watch_ends_when_the_study_does(node: FakeNode) -> None:
    client = Client.connect("northfield")
    assert [study.state for study in client.watch("breast-mlp")] == ["concluded"]
    ticks = iter(range(100))
    patient = Client(client.connection, sleep=lambda _: None, now=lambda: float(next(ticks)))
    with pytest.raises(errors.NotReady, match="still waiting"):
        list(patient.watch("breast-deep", timeout_s=3))


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure(401, "unauthenticated", "who?", exit_code=3), errors.Unauthenticated),
        (Failure(403, "forbidden", "no", exit_code=3), errors.Denied),
        (Failure(404, "not-found", "none"), errors.NotFound),
        (Failure(409, "conflict", "two"), errors.Conflict),
        (Failure(413, "too-large", "much"), errors.Refused),
        (Failure(500, "internal", "oh", exit_code=2), errors.NodeFault),
        (Failure(503, "busy", "soon", exit_code=5), errors.NotReady),
        (Failure(400, "evidence", "forged", exit_code=4), errors.VerificationFailed),
    ],
)
def test_errors_mirror_the_api(failure: Failure, kind: type[errors.ShellError], node: FakeNode) -> None:
    node.refusals["/api/v1/status"] = failure
    with pytest.raises(kind) as caught:
        Client.connect("northfield").status()
    assert caught.value.code == failure.body["code"]
    assert caught.value.exit_code == failure.body["exit_code"]


def test_a_shape_that_is_not_known_is_an_error(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client.connect("northfield")
    monkeypatch.setattr(client.connection, "get", lambda *_, **__: {"org": 1})
    with pytest.raises(errors.NodeFault, match="shape"):
        client.status()


def test_tokens_stay_hidden(node: FakeNode) -> None:
    client = Client.connect(url=node.url, token=TOKEN)
    assert TOKEN not in repr(client) + repr(client.connection)
    with pytest.raises(errors.Unauthenticated) as caught:
        Client.connect(url=node.url, token="wrong-secret").status()
    assert "wrong-secret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://a:b@c:1", "http://c:99999999", "x", "http://c/path"])
def test_an_address_must_be_plain(url: str) -> None:
    with pytest.raises(errors.BadUsage):
        Client.connect(url=url, token="t")


def test_credentials(tmp_path: Path) -> None:
    folder = tmp_path / "northfield"
    folder.mkdir()
    for text in (
        "",
        "[]",
        '{"url": 1, "token": "s3cret"}',
        "{" * 100_000,
        '{"url": "http://x:1", "token": "s3cret"' + " " * 70_000 + "}",
    ):
        (folder / "credentials.json").write_text(text)
        with pytest.raises(errors.NoCredentials) as caught:
            Client.connect("northfield", home=tmp_path)
        assert "s3cret" not in str(caught.value)
    for name in ("../northfield", "UPPER", "", "a" * 40):
        with pytest.raises(errors.NoCredentials):
            Client.connect(name or "1", home=tmp_path)
    os.environ.pop("COMITY_ORG", None)
