"""KServe v2 requests from what people have in a file, and answers back to plain values. Shapes: Open Inference Protocol v2."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from comity.shell.errors import BadUsage, Denied, NodeFault, NotFound, NotReady, Refused, ShellError
from comity.shell.wire import Answer

VALUES_MAX = 1_000_000
_ERRORS: dict[int, type[ShellError]] = {401: Denied, 403: Denied, 404: NotFound, 503: NotReady}


def answered(answer: Answer) -> dict[str, Any]:
    """The JSON object of a KServe answer; raises what its `error` says."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise NodeFault(f"the node answered {answer.status} without JSON")
    if answer.status != 200:
        error = body.get("error")
        message = error.get("message") if isinstance(error, dict) else error
        hint = error.get("hint", "") if isinstance(error, dict) else ""
        raise _ERRORS.get(answer.status, Refused if answer.status < 500 else NodeFault)(
            str(message or "refused")[:2000], hint=str(hint)[:2000]
        )
    return body


def request(inputs: object, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A v2 inference request.

    `inputs` is such a request already (an object with `inputs`), rows of numbers, one row, or an object of named values, whose
    order the model's metadata must tell (`parameters.features`): a guess would answer wrongly and look right. Raises `BadUsage`.
    """
    if isinstance(inputs, Mapping) and "inputs" in inputs:
        return dict(inputs)
    tensor = _only_input(metadata)
    if isinstance(inputs, Mapping):
        rows: list[Any] = [_ordered(inputs, metadata)]
    elif isinstance(inputs, list | tuple) and inputs and not isinstance(inputs[0], list | tuple | Mapping):
        rows = [list(inputs)]
    elif isinstance(inputs, list | tuple):
        rows = [_ordered(row, metadata) if isinstance(row, Mapping) else row for row in inputs]
    else:
        raise BadUsage("a prediction wants a row of numbers, rows, named values or a KServe v2 request")
    width = _width(rows)
    data = [_number(value) for row in rows for value in row]
    return {
        "inputs": [{"name": tensor["name"], "datatype": tensor["datatype"], "shape": [len(rows), width], "data": data}]
    }


def response(body: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The outputs of an answer by name (a single value where there is one) and its receipt's digest."""
    parameters, tensors = body.get("parameters"), body.get("outputs")
    receipt = parameters.get("receipt") if isinstance(parameters, Mapping) else None
    if not isinstance(receipt, str):
        raise NodeFault("the answer carries no receipt")
    if not isinstance(tensors, list) or not all(isinstance(tensor, Mapping) for tensor in tensors):
        raise NodeFault("the answer carries no outputs")
    outputs = {str(tensor.get("name")): _nested(tensor.get("data"), tensor.get("shape")) for tensor in tensors}
    return outputs, receipt


def _only_input(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    tensors = metadata.get("inputs")
    if (
        not isinstance(tensors, list)
        or len(tensors) != 1
        or not isinstance(tensors[0], Mapping)
        or not {"name", "datatype"} <= tensors[0].keys()
    ):
        raise BadUsage(
            "this model has more than one input",
            hint='send a KServe v2 request: {"inputs": [{"name", "datatype", "shape", "data"}]}',
        )
    return tensors[0]


def _ordered(values: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[Any]:
    parameters = metadata.get("parameters")
    features = parameters.get("features") if isinstance(parameters, Mapping) else None
    if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
        raise BadUsage("this model does not say the order of its features", hint="send a list of numbers")
    missing = [name for name in features if name not in values]
    unknown = [name for name in values if name not in features]
    if missing or unknown:
        parts = [
            f"{label} {', '.join(map(str, names[:5]))}"
            for label, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise BadUsage("these values are not the model's features", why="; ".join(parts))
    return [values[name] for name in features]


def _width(rows: Sequence[Any]) -> int:
    widths = {len(row) if isinstance(row, list | tuple) else -1 for row in rows}
    if len(widths) != 1 or min(widths) < 1:
        raise BadUsage("the rows of a prediction must be lists of one length")
    if len(rows) * min(widths) > VALUES_MAX:
        raise BadUsage(f"a prediction takes at most {VALUES_MAX:,} values")
    return min(widths)


def _number(value: object) -> int | float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value
        or value in (float("inf"), float("-inf"))
    ):
        raise BadUsage(f"{str(value)[:40]!r} is not a number")
    return value


def _nested(data: Any, shape: object) -> Any:
    """Flat row-major data in its shape; a tensor of one element is its element."""
    if not isinstance(data, list) or not isinstance(shape, list) or not all(isinstance(n, int) for n in shape):
        return data
    if len(data) == 1:
        return data[0]
    inner = [n for n in shape if n != 1]
    for length in reversed(inner[1:]):
        if length < 1 or len(data) % length:
            return data
        data = [data[i : i + length] for i in range(0, len(data), length)]
    return data
