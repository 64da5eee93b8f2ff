"""Open Inference Protocol v2: what a request may be, what it may not, and what an answer looks like."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.serve import oip
from comity.serve.errors import BadInference
from comity.serve.oip import Signature, Tensor

INPUTS = (Signature("x", "FP32", (-1, 3)),)
OUTPUTS = (Signature("probability", "FP32", (-1,)), Signature("label", "INT64", (-1,)))


def body(**over: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4.5, 5, 6], **over}]}


def parse(document: Any) -> oip.Request:
    return oip.parse(json.dumps(document).encode(), INPUTS, OUTPUTS)


def values(request: oip.Request) -> list[float]:
    return [float(v) for v in np.frombuffer(request.tensors[0].data, "<f4")]


def test_flat_and_nested_data_are_the_same_tensor() -> None:
    flat, nested = parse(body()), parse(body(data=[[1, 2, 3], [4.5, 5, 6]]))
    assert flat.tensors == nested.tensors
    assert values(flat) == [1, 2, 3, 4.5, 5, 6]
    assert flat.inputs != nested.inputs, "the receipt binds what was sent"


def test_outputs_id_and_parameters() -> None:
    request = parse(body() | {"id": "q1", "outputs": [{"name": "label"}], "parameters": {"a": 1}})
    assert (request.id, request.outputs) == ("q1", ("label",))
    assert json.loads(request.parameters) == {"id": "q1", "outputs": [{"name": "label"}], "parameters": {"a": 1}}
    assert parse(body()).outputs == ("probability", "label")


BAD: dict[str, tuple[Any, str]] = {
    "not an object": ([], "inputs"),
    "no inputs": ({}, "inputs"),
    "unknown member": (body() | {"x": 1}, "'x'"),
    "unknown member of an input": (body(extra=1), "'extra'"),
    "long id": (body() | {"id": "x" * 300}, "id"),
    "other name": (body(name="y"), "takes x"),
    "none": ({"inputs": []}, "takes x"),
    "twice": ({"inputs": body()["inputs"] * 2}, "name of its own"),
    "many": ({"inputs": [{"name": str(i)} for i in range(100)]}, "too many"),
    "datatype": (body(datatype="FP64"), "must be FP32"),
    "shape missing": (body(shape=None), "shape"),
    "shape of text": (body(shape=["2", 3]), "impossible"),
    "shape of truth": (body(shape=[True, 3]), "impossible"),
    "zero rows": (body(shape=[0, 3], data=[]), "impossible"),
    "huge": (body(shape=[1 << 19, 3]), "impossible"),
    "wrong width": (body(shape=[3, 2]), "must have shape"),
    "wrong rank": (body(shape=[6]), "must have shape"),
    "too few": (body(data=[1, 2, 3]), "3 values"),
    "ragged": (body(data=[[1, 2, 3], [4, 5]]), "nested otherwise"),
    "half nested": (body(data=[[1, 2, 3], 4, 5, 6]), "nested otherwise"),
    "too deep": (body(data=[[[1], 2, 3], [4, 5, 6]]), "not FP32"),
    "text": (body(data=[1, 2, 3, 4, 5, "6"]), "not FP32"),
    "null": (body(data=[1, 2, 3, 4, 5, None]), "not FP32"),
    "truth": (body(data=[1, 2, 3, 4, 5, True]), "not FP32"),
    "beyond": (body(data=[1, 2, 3, 4, 5, 1e39]), "beyond FP32"),
    "data missing": (body(data=None), "list `data`"),
    "unknown output": (body() | {"outputs": [{"name": "loss"}]}, "gives probability"),
    "output twice": (body() | {"outputs": [{"name": "label"}, {"name": "label"}]}, "gives"),
    "outputs of text": (body() | {"outputs": ["label"]}, "list of objects"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(name: str) -> None:
    document, why = BAD[name]
    with pytest.raises(BadInference) as caught:
        parse(document)
    assert why in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b'{"inputs": [NaN]}',
        b'{"inputs": [], "inputs": []}',
        b"[" * 10_000,
        b" " * (oip.REQUEST_BYTES_MAX + 1),
    ],
)
def test_bad_bytes(raw: bytes) -> None:
    with pytest.raises(BadInference):
        oip.parse(raw, INPUTS, OUTPUTS)


@pytest.mark.parametrize(
    ("datatype", "good", "bad"),
    [("INT8", -128, 128), ("UINT8", 255, -1), ("INT64", 2**53 - 1, 1.5), ("BOOL", True, 1), ("FP64", 1e300, "1")],
)
def test_every_datatype_has_its_range(datatype: str, good: object, bad: object) -> None:
    wanted = (Signature("x", datatype, (-1,)),)
    for value, fits in ((good, True), (bad, False)):
        raw = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": datatype, "data": [value]}]}).encode()
        if fits:
            assert len(oip.parse(raw, wanted, OUTPUTS).tensors) == 1
        else:
            with pytest.raises(BadInference):
                oip.parse(raw, wanted, OUTPUTS)


def test_an_answer() -> None:
    probability = Tensor("probability", "FP32", (2,), np.array([0.25, 1], "<f4").tobytes())
    assert oip.answer("triage", "1", "q1", [probability]) == {
        "model_name": "triage", "model_version": "1", "id": "q1",
        "outputs": [{"name": "probability", "datatype": "FP32", "shape": [2], "data": [0.25, 1.0]}],
    }  # fmt: skip
    with pytest.raises(BadInference, match="not a finite number"):
        oip.answer("t", "1", "", [Tensor("p", "FP32", (1,), np.array([np.nan], "<f4").tobytes())])


def test_metadata_and_errors() -> None:
    found = oip.metadata("triage", ["1"], INPUTS, OUTPUTS, ["a", "b", "c"])
    assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert found["parameters"] == {"features": ["a", "b", "c"]}
    assert oip.error(BadInference("no", why="because", hint="do")) == {"error": "no (because). hint: do"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON, JSON, JSON)
def test_any_json_is_a_request_or_a_bad_one(shape: Any, data: Any, entry: Any) -> None:
    for document in (
        entry,
        {"inputs": entry},
        {"inputs": [entry]},
        body(shape=shape),
        body(data=data),
        body(shape=shape, data=data),
    ):
        try:
            request = parse(document)
        except BadInference:
            continue
        assert len(request.tensors[0].data) == 4 * np.prod(request.tensors[0].shape)
