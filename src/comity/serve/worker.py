"""Inside a sandbox: one ONNX model, loaded once, run many times. It has no network, no files but the model, bounded memory.

The model is foreign bytes: it is parsed here, not in the node. What it may contain is checked first. Asked by `session`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from comity.serve.errors import BadInference, ModelRefused
from comity.serve.oip import DTYPES

Answer: TypeAlias = tuple[Mapping[str, Any], Mapping[str, bytes]]
MODEL = "model.onnx"
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
NODES_MAX = 100_000
DEPTH_MAX = 16
_DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bool)": "BOOL",
    **{
        f"tensor({'u' * unsigned}int{bits})": f"{'U' * unsigned}INT{bits}"
        for bits in (8, 16, 32, 64)
        for unsigned in (0, 1)
    },
}


def load(inputs: Path) -> Callable[[Mapping[str, Any], Mapping[str, bytes]], Answer]:
    """The handler. Operations: `describe`, and `infer` with a tensor a part."""
    session: Any = None

    def handle(body: Mapping[str, Any], parts: Mapping[str, bytes]) -> Answer:
        nonlocal session
        if session is None:
            session = _open((inputs / MODEL).read_bytes())
        if body.get("do") == "describe":
            return _describe(session), {}
        return _infer(session, body, parts)

    return handle


def check(model: bytes) -> None:
    """Raise `ModelRefused` for external data, operators of other domains, functions of its own, or excessive size."""
    import onnx

    try:
        proto = onnx.ModelProto.FromString(model)
    except Exception as error:  # protobuf's own error type depends on its backend
        raise ModelRefused("not an ONNX model", why=type(error).__name__) from None
    if proto.functions or proto.training_info:
        raise ModelRefused("the model carries functions of its own")
    foreign = {opset.domain for opset in proto.opset_import} - DOMAINS
    nodes = 0
    for graph in _graphs(proto.graph, 0):
        nodes += len(graph.node)
        foreign |= {node.domain for node in graph.node} - DOMAINS
        tensors = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))]
        tensors += [t for n in graph.node for a in n.attribute for t in a.tensors]
        tensors += [part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices)]
        if any(t.data_location == onnx.TensorProto.EXTERNAL or t.external_data for t in tensors):
            raise ModelRefused("the model reads data outside its own bytes")
    if foreign:
        raise ModelRefused(f"the model uses operators of domain {sorted(foreign)[0][:80]!r}")
    if not nodes or nodes > NODES_MAX:
        raise ModelRefused("the model has no or too many nodes", why=f"{nodes}, at most {NODES_MAX}")


def _graphs(graph: Any, depth: int) -> Iterator[Any]:
    if depth > DEPTH_MAX:
        raise ModelRefused("the model's graphs are nested too deep")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _graphs(inner, depth + 1)


def _open(model: bytes) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    check(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own C++ binding
        raise ModelRefused("the model cannot be loaded", why=str(error)[:300]) from None


def _describe(session: Any) -> dict[str, Any]:
    return {
        side: [_tensor(t) for t in found]
        for side, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
    }


def _tensor(tensor: Any) -> list[Any]:
    if tensor.type not in _DATATYPES:
        raise ModelRefused(f"the model's {tensor.name!r} is {tensor.type}, which is not served")
    return [tensor.name, _DATATYPES[tensor.type], [size if isinstance(size, int) else -1 for size in tensor.shape]]


def _infer(session: Any, body: Mapping[str, Any], parts: Mapping[str, bytes]) -> Answer:
    feeds = {
        name: np.frombuffer(parts[name], dtype=np.dtype(DTYPES[datatype]).newbyteorder("<")).reshape(shape)
        for name, datatype, shape in body["inputs"]
    }
    try:
        results = session.run(list(body["outputs"]), feeds)
    except Exception as error:  # onnxruntime raises types of its own C++ binding
        raise BadInference("the model could not answer", why=str(error)[:300]) from None
    described, data = [], {}
    types = {output.name: _DATATYPES[output.type] for output in session.get_outputs()}
    for name, value in zip(body["outputs"], results, strict=True):
        array = np.ascontiguousarray(value)
        described.append([name, types[name], list(array.shape)])
        data[name] = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return {"outputs": described}, data
