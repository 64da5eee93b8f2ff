"""Open Inference Protocol v2, REST: requests checked and made tensors, tensors made answers, metadata. Pure.

Data may be nested or flat, as the protocol says. Every limit and type is checked here, before a model sees a byte.
Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md. HTTP itself: node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from comity.record import canonical
from comity.record.errors import ComityError
from comity.record.types import Json
from comity.serve.errors import BadInference

REQUEST_BYTES_MAX = 8 << 20
VALUES_MAX = 1 << 20
TENSORS_MAX = 64
DIMENSIONS_MAX = 8
ID_CHARACTERS_MAX = 256
_DEPTH_MAX = DIMENSIONS_MAX + 6
DTYPES: Mapping[str, npt.DTypeLike] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "FP64": np.float64,
}
"""FP16 and BYTES have no place in the JSON form that we speak yet."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A tensor as a Model record names it; -1 is a dimension that the request chooses."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes
    """Little-endian values in row-major order."""


@dataclass(frozen=True, slots=True)
class Request:
    """A checked request. `inputs` and `parameters` are the canonical bytes that the receipt's digests are of."""

    id: str
    tensors: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    """Names of the outputs that are wanted, in order."""
    inputs: bytes
    parameters: bytes


def parse(body: bytes, inputs: Sequence[Signature], outputs: Sequence[Signature]) -> Request:
    """Check a request body against a model's signature. Raises `BadInference`, which says which tensor and why."""
    if len(body) > REQUEST_BYTES_MAX:
        raise BadInference("the request is too large", why=f"{len(body)} bytes, at most {REQUEST_BYTES_MAX}")
    try:
        document = canonical.decode(body, bytes_max=REQUEST_BYTES_MAX, depth_max=_DEPTH_MAX, floats=True)
    except ComityError as error:
        raise BadInference("the request is not JSON", why=str(error)) from None
    listed = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(listed, list):
        raise BadInference("the request needs a list `inputs`")
    unknown = document.keys() - {"id", "parameters", "inputs", "outputs"}
    if unknown:
        raise BadInference(f"the request has no member {sorted(unknown)[0]!r}")
    request_id = document.get("id", "")
    if not isinstance(request_id, str) or len(request_id) > ID_CHARACTERS_MAX:
        raise BadInference("`id` is not a short string")
    tensors = _tensors(listed, inputs)
    rest = {name: value for name, value in document.items() if name != "inputs"}
    wanted = _wanted(document.get("outputs"), outputs)
    given = canonical.encode({"inputs": listed})
    return Request(request_id, tensors, wanted, given, canonical.encode(rest))


def answer(name: str, version: str, request_id: str, outputs: Sequence[Tensor]) -> dict[str, Any]:
    """The answer's JSON object, without the receipt. Raises `BadInference` for a value JSON cannot hold (NaN, infinity)."""
    body: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": [_plain(t) for t in outputs]}
    return {**body, "id": request_id} if request_id else body


def metadata(
    name: str,
    versions: Sequence[str],
    inputs: Sequence[Signature],
    outputs: Sequence[Signature],
    features: Sequence[str] = (),
) -> dict[str, Any]:
    """`GET /v2/models/{name}`. `features` are the columns of the one input, so that a client may name its values."""
    body: dict[str, Any] = {
        "name": name,
        "versions": list(versions),
        "platform": "onnx_onnxv1",
        "inputs": [_described(tensor) for tensor in inputs],
        "outputs": [_described(tensor) for tensor in outputs],
    }
    return {**body, "parameters": {"features": list(features)}} if features else body


def server_metadata(version: str) -> dict[str, Any]:
    """`GET /v2`."""
    return {"name": "comity", "version": version, "extensions": []}


def error(problem: ComityError) -> dict[str, str]:
    """The protocol's error body."""
    return {"error": f"{problem}. hint: {problem.hint}" if problem.hint else str(problem)}


def signatures(tensors: Sequence[Any]) -> tuple[Signature, ...]:
    """From the tensors of a Model record."""
    return tuple(Signature(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)


def _tensors(given: list[Json], wanted: Sequence[Signature]) -> tuple[Tensor, ...]:
    if len(given) > TENSORS_MAX:
        raise BadInference("the request has too many inputs", why=f"at most {TENSORS_MAX}")
    by_name: dict[str, dict[str, Json]] = {}
    for entry in given:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(name, str) or name in by_name:
            raise BadInference("each input is an object with a name of its own")
        by_name[name] = entry
    names = [signature.name for signature in wanted]
    if by_name.keys() != set(names):
        raise BadInference(f"the model takes {', '.join(names)}", why=f"given: {', '.join(by_name)[:200] or 'nothing'}")
    return tuple(_tensor(by_name[signature.name], signature) for signature in wanted)


def _tensor(entry: dict[str, Json], wanted: Signature) -> Tensor:
    name = wanted.name
    unknown = entry.keys() - {"name", "shape", "datatype", "parameters", "data"}
    if unknown:
        raise BadInference(f"input {name!r} has no member {sorted(unknown)[0]!r}")
    if entry.get("datatype") != wanted.datatype or wanted.datatype not in DTYPES:
        raise BadInference(
            f"input {name!r} must be {wanted.datatype}", why=f"datatype is {entry.get('datatype')!r}"[:80]
        )
    shape = _shape(name, entry.get("shape"), wanted.shape)
    values: list[Any] = []
    _flatten(name, entry.get("data"), shape, values)
    if len(values) != prod(shape):
        raise BadInference(f"input {name!r} has {len(values)} values", why=f"its shape {list(shape)} has {prod(shape)}")
    return Tensor(name, wanted.datatype, shape, _packed(name, wanted.datatype, values))


def _shape(name: str, given: Json, wanted: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(given, list) or len(given) > DIMENSIONS_MAX:
        raise BadInference(f"input {name!r} needs a shape")
    sizes = [size for size in given if type(size) is int and 0 < size <= VALUES_MAX]
    if len(sizes) != len(given) or prod(sizes) > VALUES_MAX:
        raise BadInference(f"input {name!r} has an impossible shape", why=f"at most {VALUES_MAX} values")
    fits = len(sizes) == len(wanted) and all(w in (-1, size) for size, w in zip(sizes, wanted, strict=True))
    if not fits:
        raise BadInference(f"input {name!r} must have shape {list(wanted)}", why=f"given: {sizes}")
    return tuple(sizes)


def _flatten(name: str, data: Json, shape: tuple[int, ...], values: list[Any]) -> None:
    """Flat data has all values in one list; nested data follows the shape exactly."""
    if not isinstance(data, list):
        raise BadInference(f"input {name!r} needs a list `data`")
    if any(isinstance(item, list) for item in data):
        if len(shape) < 2 or len(data) != shape[0]:
            raise BadInference(f"input {name!r} is nested otherwise than its shape")
        for item in data:
            _nested(name, item, shape[1:], values)
    else:
        values += data


def _nested(name: str, data: Json, shape: tuple[int, ...], values: list[Any]) -> None:
    if not isinstance(data, list) or len(data) != shape[0]:
        raise BadInference(f"input {name!r} is nested otherwise than its shape")
    if len(shape) == 1:
        values += data
        return
    for item in data:
        _nested(name, item, shape[1:], values)


def _packed(name: str, datatype: str, values: list[Any]) -> bytes:
    dtype = np.dtype(DTYPES[datatype])
    allowed: tuple[type, ...] = {"b": (bool,), "f": (int, float)}.get(dtype.kind, (int,))
    if any(type(value) not in allowed for value in values):
        raise BadInference(f"input {name!r} holds a value that is not {datatype}")
    try:
        with np.errstate(over="raise"):
            array = (
                np.array(values, dtype=np.float64).astype(dtype) if dtype.kind == "f" else np.array(values, dtype=dtype)
            )
    except (OverflowError, FloatingPointError):
        raise BadInference(f"input {name!r} holds a value beyond {datatype}") from None
    return array.astype(dtype.newbyteorder("<")).tobytes()


def _wanted(given: Json, outputs: Sequence[Signature]) -> tuple[str, ...]:
    names = [signature.name for signature in outputs]
    if given is None or given == []:
        return tuple(names)
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise BadInference("`outputs` is a list of objects")
    wanted = [entry.get("name") for entry in given if isinstance(entry, dict)]
    if len(set(map(str, wanted))) != len(wanted) or any(name not in names for name in wanted):
        raise BadInference(f"the model gives {', '.join(names)}")
    return tuple(str(name) for name in wanted)


def _plain(tensor: Tensor) -> dict[str, Any]:
    array = np.frombuffer(tensor.data, dtype=np.dtype(DTYPES[tensor.datatype]).newbyteorder("<"))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadInference(
            f"output {tensor.name!r} is not a finite number", why="the inputs are outside what the model knows"
        )
    data: list[Any] = array.tolist()
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": data}


def _described(tensor: Signature) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
