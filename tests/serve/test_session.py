"""A model in its sandbox: approved bytes answer, everything else is refused, and nothing is left running."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from comity.compute.sandbox import Limits, Sandbox, Worker
from comity.record.types import Digest
from comity.serve import oip
from comity.serve.errors import BadInference, ModelRefused, NotReady
from comity.serve.oip import Signature
from comity.serve.session import Session
from comity.serve.worker import check

INPUTS = (Signature("x", "FP32", (-1, 2)),)
OUTPUTS = (Signature("y", "FP32", (-1, 1)), Signature("label", "INT64", (-1, 1)))


def model(*, domain: str = "", external: bool = False, function: bool = False, inner: bool = False) -> bytes:
    weight = numpy_helper.from_array(np.array([[2.0], [3.0]], dtype=np.float32), "w")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="../../etc/passwd")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Cast", ["y"], ["label"], to=TensorProto.INT64),
    ]
    if domain:
        nodes.append(helper.make_node("Shell", ["x"], ["z"], domain=domain))
    if inner:
        branch = helper.make_graph([helper.make_node("Shell", [], ["q"], domain="evil")], "b", [], [])
        nodes.append(helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.FLOAT, ["n", 2])],
        [info("y", TensorProto.FLOAT, ["n", 1]), info("label", TensorProto.INT64, ["n", 1])], [weight],
    )  # fmt: skip
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    if function:
        proto.functions.add(name="f", domain="own")
    return bytes(proto.SerializeToString())


started: list[Worker] = []


async def start(handler: str, inputs: Mapping[str, bytes]) -> Worker:
    started.append(await Sandbox.find().start(handler, inputs, Limits(cpu_s=20, memory_bytes=2 << 30)))
    return started[-1]


async def load(artefact: bytes, digest: str = "", inputs: tuple[Signature, ...] = INPUTS) -> Session:
    return await Session.load(start, artefact, Digest(digest or hashlib.sha256(artefact).hexdigest()), inputs, OUTPUTS)


def request(*rows: tuple[float, float]) -> oip.Request:
    flat = [value for row in rows for value in row]
    body = {"inputs": [{"name": "x", "shape": [len(rows), 2], "datatype": "FP32", "data": flat}]}
    return oip.parse(json.dumps(body).encode(), INPUTS, OUTPUTS)


def test_it_answers_and_the_answer_is_oip() -> None:
    async def main() -> None:
        session = await load(model())
        try:
            outputs = await session.infer(request((1, 1), (2, 0)))
            answer = oip.answer("triage", "1", "", outputs)
            assert [o["data"] for o in answer["outputs"]] == [[5.0, 4.0], [5, 4]]
            assert [o["shape"] for o in answer["outputs"]] == [[2, 1], [2, 1]]
        finally:
            await session.close()
        assert not session.ready
        with pytest.raises(NotReady):
            await session.infer(request((1, 1)))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("artefact", "digest", "inputs", "why"),
    [
        (model(), "0" * 64, INPUTS, "not what was approved"),
        (model(external=True), "", INPUTS, "outside its own bytes"),
        (model(domain="com.evil"), "", INPUTS, "domain 'com.evil'"),
        (model(inner=True), "", INPUTS, "domain 'evil'"),
        (model(function=True), "", INPUTS, "functions of its own"),
        (b"not a model", "", INPUTS, "ONNX|nodes"),
        (b"", "", INPUTS, "nodes"),
        (model(), "", (Signature("x", "FP64", (-1, 2)),), "not those of the model's record"),
    ],
)
def test_what_is_refused(artefact: bytes, digest: str, inputs: tuple[Signature, ...], why: str) -> None:
    async def main() -> None:
        with pytest.raises(ModelRefused) as caught:
            await load(artefact, digest, inputs)
        assert any(word in str(caught.value) for word in why.split("|")), str(caught.value)
        assert all(not worker.alive for worker in started)

    asyncio.run(main())


def test_check_looks_into_sound_models_too() -> None:
    check(model())
    proto = onnx.ModelProto.FromString(model())
    del proto.graph.node[:]
    with pytest.raises(ModelRefused, match="no or too many"):
        check(proto.SerializeToString())


class Liar:
    """A worker that answers what it likes."""

    alive = True

    def __init__(self, outputs: object, data: dict[str, bytes]) -> None:
        self.outputs, self.data = outputs, data

    async def call(
        self, body: object, parts: object = None, *, wall_s: float
    ) -> tuple[dict[str, object], dict[str, bytes]]:
        return {"outputs": self.outputs}, self.data

    async def stop(self) -> None:
        return None


@pytest.mark.parametrize(
    "outputs",
    [None, [], [["y", "FP32", [1, 1]]],
     [["z", "FP32", [1, 1]], ["label", "INT64", [1, 1]]], [["y", "FP32", [9, 1]], ["label", "INT64", [1, 1]]],
     [["y", "INT64", [1, 1]], ["label", "INT64", [1, 1]]], [["y", "FP32", [1, 2]], ["label", "INT64", [1, 1]]]],
)  # fmt: skip
def test_a_lying_worker_is_not_believed(outputs: object) -> None:
    session = Session(Liar(outputs, {"y": bytes(4), "label": bytes(8)}), INPUTS, OUTPUTS)
    with pytest.raises(BadInference):
        asyncio.run(session.infer(request((1, 1))))
