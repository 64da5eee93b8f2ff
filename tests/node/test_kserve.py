"""Predictions of a real node: the protocol's own errors, nothing but finite numbers, and no answer without a durable receipt."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.live import Live
from support.story import FEATURES, Story

pytestmark = pytest.mark.net
INFER = "/v2/models/story-triage/infer"


def ask(live: Live, body: Any, path: str = INFER) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with live.http("predict") as http:
        return http.post(path, content=content)


def told(answer: httpx.Response, *statuses: int) -> str:
    """The protocol's error, and nothing else."""
    assert answer.status_code in statuses, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    assert isinstance(body["error"], str)
    assert "Comity-Receipt" not in answer.headers
    return str(body["error"])


def tensor(**change: Any) -> dict[str, Any]:
    return {"inputs": [{**FEATURES["inputs"][0], **change}]}


def test_the_protocols_own_questions(live: Live, story: Story) -> None:
    with live.http("predict") as http:
        assert http.get("/v2").json()["name"] == "comity"
        assert http.get("/v2/health/live").json() == {"live": True}
        assert http.get("/v2/health/ready").json() == {"ready": True}
        assert http.get("/v2/models/story-triage/ready").json() == {"name": "story-triage", "ready": True}
        about = http.get("/v2/models/story-triage").json()
    assert about["parameters"]["features"] == ["radius", "texture"]
    assert about["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


def test_an_answer_names_its_receipt_and_the_receipt_is_counted(live: Live, story: Story) -> None:
    before = live.get("/api/v1/status")["predictions"]["total"]
    answer = ask(live, FEATURES)
    assert answer.json()["parameters"]["receipt"] == answer.headers["Comity-Receipt"]
    assert live.get("/api/v1/status")["predictions"]["total"] == before + 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"inputs": [{"name":"x","datatype":"FP32","shape":[1,2],"data":[NaN,1]}]}', "not JSON"),
        (b'{"inputs": [{"name":"x","datatype":"FP32","shape":[1,2],"data":[Infinity,1]}]}', "not JSON"),
        (b'{"inputs": [], "inputs": []}', "not JSON"),
        ([], "inputs"),
        ({}, "inputs"),
        ({**FEATURES, "more": 1}, "more"),
        (tensor(name="z"), "takes x"),
        (tensor(shape=[1, 3]), "shape"),
        (tensor(shape=[2, 2]), "4"),
        (tensor(shape=[0, 2]), "impossible"),
        (tensor(shape=[-1, 2]), "impossible"),
        (tensor(shape=[2**20, 2**20]), "impossible"),
        (tensor(shape="12"), "shape"),
        (tensor(datatype="INT64"), "FP32"),
        (tensor(datatype="BYTES"), "FP32"),
        (tensor(data=[1.0, "2"]), "FP32"),
        (tensor(data=[1.0, 1e300]), "beyond"),
        (tensor(data=[[1.0], [2.0]]), "nested"),
        (tensor(data={}), "list"),
        ({**FEATURES, "outputs": [{"name": "nothing"}]}, "gives"),
        ({**FEATURES, "id": "x" * 300}, "id"),
    ],
)
def test_a_bad_request_is_told_why(live: Live, story: Story, body: Any, said: str) -> None:
    before = live.get("/api/v1/status")["predictions"]["total"]
    assert said in told(ask(live, body), 400)
    assert live.get("/api/v1/status")["predictions"]["total"] == before


def test_what_is_not_there(live: Live, story: Story) -> None:
    live.post("/api/v1/services", {"name": "no-model", "approvals": 1, "time_lock_s": 1})
    assert "no service" in told(ask(live, FEATURES, "/v2/models/absent/infer"), 404)
    assert "no model ready" in told(ask(live, FEATURES, "/v2/models/no-model/infer"), 503)
    with live.http("predict") as http:
        told(http.get("/v2/models/absent"), 404)
        told(http.get("/v2/models/no-model/ready"), 503)
        told(http.get("/v2/models/a/b/c"), 404)
        told(http.get("/v2/models/" + "x" * 3000), 404)
    with live.http("read") as http:
        assert "`predict`" in told(http.get("/v2"), 403)
    with live.http("") as http:
        told(http.get("/v2"), 401)


@settings(max_examples=80)
@given(data=st.data())
def test_no_request_surprises_it(live: Live, story: Story, data: st.DataObject) -> None:
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=10,
    )
    place = data.draw(st.sampled_from(["name", "datatype", "shape", "data", "inputs", "bytes"]))
    if place == "bytes":
        answer = ask(live, data.draw(st.binary(max_size=100)))
    elif place == "inputs":
        answer = ask(live, {"inputs": data.draw(value)})
    else:
        answer = ask(live, tensor(**{place: data.draw(value)}))
    if answer.status_code != 200:
        told(answer, 400)


@contextmanager
def no_longer_files(live: Live) -> Iterator[None]:
    """The node's main process can make no file longer, as on a full disk."""
    before = resource.prlimit(live.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(live.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(live.pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is of Linux")
def test_no_durable_receipt_no_answer(live: Live, story: Story) -> None:
    before = live.get("/api/v1/status")["predictions"]["total"]
    with no_longer_files(live):
        told(ask(live, FEATURES), 503)
        check = next(row for row in live.get("/api/v1/doctor")["checks"] if row["code"] == "C008")
        assert check["ok"] is False
        assert check["detail"]
        assert live.get("/api/v1/status")["predictions"]["total"] == before
        with live.http() as http:
            assert http.get("/healthz").status_code == 503
    answer = ask(live, FEATURES)
    assert answer.status_code == 200
    assert live.get("/api/v1/status")["predictions"]["total"] == before + 1
    assert live.get("/api/v1/status")["health"] == "ok"
