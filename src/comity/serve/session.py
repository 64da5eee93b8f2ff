"""A loaded model: the approved bytes in a sandboxed worker, and inference with both sides checked.

It loads nothing but bytes of the approved digest, and nothing whose signature is not what the Model record says. The
program inside: `worker`. What a client sends and gets: `oip`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import prod
from typing import Any, Protocol, Self

import numpy as np

from comity.record.errors import ComityError
from comity.record.types import Digest
from comity.serve.errors import BadInference, ModelRefused, NotReady
from comity.serve.oip import DTYPES, VALUES_MAX, Request, Signature, Tensor
from comity.serve.worker import MODEL

HANDLER = "comity.serve.worker"
ARTEFACT_BYTES_MAX = 1 << 28
LOAD_WALL_S = 60.0
INFER_WALL_S = 10.0


class Calls(Protocol):
    """A sandboxed worker (`compute.sandbox.Worker`)."""

    @property
    def alive(self) -> bool: ...
    async def call(
        self, body: Mapping[str, Any], parts: Mapping[str, bytes] | None = None, *, wall_s: float
    ) -> tuple[Mapping[str, Any], Mapping[str, bytes]]: ...
    async def stop(self) -> None: ...


Start = Callable[[str, Mapping[str, bytes]], Awaitable[Calls]]
"""Starts a sandboxed worker from a handler and its input files."""


class Session:
    """One model, ready. Build it with `load`."""

    def __init__(self, worker: Calls, inputs: Sequence[Signature], outputs: Sequence[Signature]) -> None:
        self._worker = worker
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)

    @classmethod
    async def load(
        cls, start: Start, artefact: bytes, digest: Digest, inputs: Sequence[Signature], outputs: Sequence[Signature]
    ) -> Self:
        """Check, load and describe. Raises `ModelRefused` and leaves nothing running."""
        if len(artefact) > ARTEFACT_BYTES_MAX:
            raise ModelRefused("the artefact is too large", why=f"{len(artefact)} bytes, at most {ARTEFACT_BYTES_MAX}")
        if hashlib.sha256(artefact).hexdigest() != digest:
            raise ModelRefused("the artefact is not what was approved", why="its digest differs")
        worker = await start(HANDLER, {MODEL: artefact})
        try:
            found, _ = await worker.call({"do": "describe"}, wall_s=LOAD_WALL_S)
            for side, wanted in (("inputs", inputs), ("outputs", outputs)):
                if found[side] != [[s.name, s.datatype, list(s.shape)] for s in wanted]:
                    raise ModelRefused(f"the artefact's {side} are not those of the model's record")
        except ModelRefused:
            await worker.stop()
            raise
        except ComityError as error:
            await worker.stop()
            raise ModelRefused("the artefact cannot be loaded", why=str(error)) from error
        except BaseException:
            await worker.stop()
            raise
        return cls(worker, inputs, outputs)

    @property
    def ready(self) -> bool:
        return self._worker.alive

    async def infer(self, request: Request) -> tuple[Tensor, ...]:
        """The wanted outputs. Raises `BadInference` when the model cannot answer these values, `NotReady` when it died."""
        if not self.ready:
            raise NotReady("the model's worker has ended", hint="the node loads it again by itself; try again soon")
        body = {
            "do": "infer",
            "inputs": [[t.name, t.datatype, list(t.shape)] for t in request.tensors],
            "outputs": list(request.outputs),
        }
        try:
            answer, parts = await self._worker.call(
                body, {t.name: t.data for t in request.tensors}, wall_s=INFER_WALL_S
            )
        except ComityError as error:
            if not self.ready:
                raise NotReady("the model's worker ended while it answered", why=str(error)) from error
            raise BadInference("the model could not answer", why=error.why or error.what) from error
        try:
            pairs = zip(answer["outputs"], request.outputs, strict=True)
            return tuple(self._output(entry, parts, name) for entry, name in pairs)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInference("the model's worker gave no proper answer", why=type(error).__name__) from None

    async def close(self) -> None:
        """Stop the worker."""
        await self._worker.stop()

    def _output(self, entry: Any, parts: Mapping[str, bytes], wanted: str) -> Tensor:
        """The worker's answer is foreign too: check name, type, shape and length before a client sees it."""
        name, datatype, shape = entry
        declared = {signature.name: signature for signature in self.outputs}[wanted]
        size = prod(shape)
        fits = len(shape) == len(declared.shape) and all(
            w in (-1, n) for n, w in zip(shape, declared.shape, strict=True)
        )
        length = size * np.dtype(DTYPES[declared.datatype]).itemsize
        if (
            (name, datatype) != (wanted, declared.datatype)
            or not fits
            or size > VALUES_MAX
            or len(parts[name]) != length
        ):
            raise BadInference(f"output {wanted!r} is not what the model's record says")
        return Tensor(name, datatype, tuple(shape), parts[name])
