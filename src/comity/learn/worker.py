"""Runs a study's code inside the sandbox: init, train, evaluate, export, and a check of somebody else's export.

The code is foreign and sees the table; what leaves is only what each operation names, as fixed-point weights, ONNX bytes
or decimal figures. It imports nothing that talks to the outside; the frames around it are `compute`'s. Asked by `work`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from comity.learn import fixed, tables
from comity.learn.errors import StudyCodeFailed
from comity.learn.tables import Table

Answer: TypeAlias = tuple[Mapping[str, Any], Mapping[str, bytes]]
CODE = "code.py"
TABLE_PREFIX = "table-"
METRICS_MAX = 64
METRIC_DIGITS = 6
_MAGNITUDE_MAX = 1e17


def load(inputs: Path) -> Callable[[Mapping[str, Any], Mapping[str, bytes]], Answer]:
    """The handler. /inputs holds the approved code, and this site's tables if the study trains here."""
    code = _module((inputs / CODE).read_bytes())
    found = sorted(inputs.glob(TABLE_PREFIX + "*"))
    table = tables.join([tables.read(path.read_bytes()) for path in found]) if found else None

    def handle(body: Mapping[str, Any], parts: Mapping[str, bytes]) -> Answer:
        operation = _OPERATIONS.get(body.get("do", ""))
        if operation is None:
            raise StudyCodeFailed("no such operation")
        return operation(code, table, body, parts)

    return handle


def _module(code: bytes) -> ModuleType:
    module = ModuleType("study")
    exec(compile(code, "study.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - approved code, in a sandbox
    return module


def _function(code: ModuleType, name: str) -> Callable[..., Any]:
    function = getattr(code, name, None)
    if not callable(function):
        raise StudyCodeFailed(f"the study's code has no function {name}")
    return function  # type: ignore[no-any-return]


def _init(code: ModuleType, _table: Table | None, body: Mapping[str, Any], _parts: Mapping[str, bytes]) -> Answer:
    arrays = _function(code, "init")(body["seed"], list(body["columns"]))
    return {}, {"weights": _weights(arrays)}


def _train(code: ModuleType, table: Table | None, body: Mapping[str, Any], parts: Mapping[str, bytes]) -> Answer:
    rows = _present(table).training()
    before = fixed.to_floats(fixed.decode(parts["weights"]))
    after = _function(code, "train")(before, rows.x, rows.y, body["seed"], body["round"])
    return {"rows": len(rows.y)}, {"weights": _weights(after)}


def _evaluate(code: ModuleType, table: Table | None, _body: Mapping[str, Any], parts: Mapping[str, bytes]) -> Answer:
    rows = _present(table).held_out()
    if not len(rows.y):
        return {"rows": 0, "metrics": {}}, {}
    figures = _function(code, "evaluate")(fixed.to_floats(fixed.decode(parts["weights"])), rows.x, rows.y)
    return {"rows": len(rows.y), "metrics": _metrics(figures)}, {}


def _export(code: ModuleType, _table: Table | None, body: Mapping[str, Any], parts: Mapping[str, bytes]) -> Answer:
    artefact = _function(code, "export")(fixed.to_floats(fixed.decode(parts["weights"])), list(body["columns"]))
    if not isinstance(artefact, bytes):
        raise StudyCodeFailed("export must return bytes")
    inputs, outputs = _signature(artefact)
    return {"inputs": inputs, "outputs": outputs}, {"artefact": artefact}


def _judge(code: ModuleType, table: Table | None, body: Mapping[str, Any], parts: Mapping[str, bytes]) -> Answer:
    """Export again from the weights, and run the proposed artefact itself on the rows that never trained."""
    body_again, exported = _export(code, table, body, parts)
    figures, _ = _evaluate(code, table, body, parts)
    rows = _present(table).held_out()
    session = _session(parts["artefact"])
    names = [output.name for output in session.get_outputs()]
    if tables.LABEL not in names:
        raise StudyCodeFailed(f"the artefact has no output {tables.LABEL!r}")
    (given,) = session.get_inputs()
    answers = session.run([tables.LABEL], {given.name: rows.x.astype(np.float32)})[0]
    metrics = dict(figures["metrics"])
    if len(rows.y):
        metrics |= _metrics({"accuracy": np.mean(np.asarray(answers).reshape(-1) == rows.y)})
    return {"rows": len(rows.y), "metrics": metrics, **body_again}, exported


_OPERATIONS: dict[str, Callable[[ModuleType, Table | None, Mapping[str, Any], Mapping[str, bytes]], Answer]] = {
    "init": _init,
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
    "judge": _judge,
}


def _present(table: Table | None) -> Table:
    if table is None:
        raise StudyCodeFailed("this site holds no table of the study")
    return table


def _weights(arrays: Any) -> bytes:
    if not isinstance(arrays, dict) or not all(isinstance(name, str) for name in arrays):
        raise StudyCodeFailed("weights must be arrays by name")
    return fixed.encode(fixed.from_floats(arrays))


def _metrics(figures: Any) -> dict[str, str]:
    """Records hold no floats: six decimals, as text."""
    if not isinstance(figures, dict) or len(figures) > METRICS_MAX:
        raise StudyCodeFailed("evaluate must return figures by name")
    metrics = {}
    for name, value in figures.items():
        number = float(value)
        if not abs(number) < _MAGNITUDE_MAX:
            raise StudyCodeFailed(f"figure {name!r} is not a number that can be reported")
        text = f"{number:.{METRIC_DIGITS}f}"
        metrics[str(name)] = text.lstrip("-") if float(text) == 0 else text
    return metrics


def _session(artefact: bytes) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(artefact, options, providers=["CPUExecutionProvider"])


_DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(int64)": "INT64",
    "tensor(int32)": "INT32",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
}


def _signature(artefact: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs as a Model record names them; a dimension that the request chooses is -1."""
    session = _session(artefact)
    return [_tensor(t) for t in session.get_inputs()], [_tensor(t) for t in session.get_outputs()]


def _tensor(tensor: Any) -> dict[str, Any]:
    if tensor.type not in _DATATYPES:
        raise StudyCodeFailed(f"the artefact's {tensor.name!r} is {tensor.type}, which a service cannot speak")
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": tensor.name, "datatype": _DATATYPES[tensor.type], "shape": shape}
