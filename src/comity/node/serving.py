"""The services that this node answers for: loaded models, receipts on disk before any answer, and what was asked, kept encrypted.

Which model belongs to a service is the ledger's word (`serve.plan`); the protocol is `serve.oip`; HTTP is `kserve`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from comity.ledger.view import View
from comity.node.errors import NotFound
from comity.node.home import Home
from comity.node.room import Room
from comity.record import canonical, kinds
from comity.record.types import Digest
from comity.serve import oip
from comity.serve.errors import ModelRefused, NotReady
from comity.serve.plan import anchored
from comity.serve.receipts import Batch, Receipt, Receipts
from comity.serve.session import Session
from comity.store.kv import Batch as Write
from comity.store.kv import LmdbStore
from comity.store.wal import Log

KEPT_BYTES_MAX = 8 << 30
NONCE_BYTES = 12
log = logging.getLogger("comity.serving")


@dataclass(frozen=True)
class Kept:
    """A prediction as its evidence needs it: the receipt, and the bytes behind its digests (None once erased)."""

    receipt: Receipt
    inputs: bytes | None
    parameters: bytes | None
    response: bytes | None


@dataclass(frozen=True)
class _Loaded:
    model: Digest
    artefact: Digest
    session: Session


class Serving:
    """Build it with `open`."""

    def __init__(
        self,
        *,
        org: str,
        room: Room,
        view: View,
        receipts: Receipts,
        kept: LmdbStore,
        key: bytes,
        counted: Callable[[str], None],
    ) -> None:
        self._org, self._room, self._view = org, room, view
        self._receipts, self._kept, self._cipher = receipts, kept, AESGCM(key)
        self._sessions: dict[Digest, _Loaded] = {}
        self.refused: set[tuple[Digest, Digest]] = set()
        self.trouble = ""
        """Why receipts could not be kept last time; empty while they can."""
        self._counted = counted
        self._changed: Callable[[], None] = lambda: None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *, org: str, home: Home, room: Room, view: View, counted: Callable[[str], None]
    ) -> AsyncIterator[Serving]:
        """Read the log of receipts and serve; on leaving, stop the models and close the log."""
        with (
            Log.open(home.receipts) as durable,
            LmdbStore(home.local / "predictions", ("predictions",), KEPT_BYTES_MAX) as kept,
        ):
            receipts = Receipts(
                durable, org=org, now=lambda: int(time.time()), entropy=os.urandom, apart=asyncio.to_thread
            )
            serving = cls(
                org=org, room=room, view=view, receipts=receipts, kept=kept, key=home.key("blobs"), counted=counted
            )
            try:
                yield serving
            finally:
                await receipts.close()
                for loaded in serving._sessions.values():
                    await loaded.session.close()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call this when there is a new receipt, or a model ended."""
        self._changed = changed

    # ── For the controller ───────────────────────────────────────────────────────────────────────────────────────────
    @property
    def loaded(self) -> dict[Digest, Digest]:
        """Service to the model that is ready here."""
        return {service: it.model for service, it in self._sessions.items() if it.session.ready}

    def batches(self) -> tuple[Batch, ...]:
        """Receipts that no root covers yet."""
        return self._receipts.batches(anchored(self._view, self._org))

    async def load(self, _: str, arguments: Mapping[str, Any]) -> None:
        """The work `load`: make a service's approved model ready, then let the one before go."""
        service, model, artefact = (Digest(arguments[name]) for name in ("service", "model", "artefact"))
        spec = self._view.records[model].record.spec
        if not isinstance(spec, kinds.Model):
            raise NotFound(f"{model[:12]} is no model")
        data = await self._room.blob(artefact)
        try:
            session = await Session.load(
                self._room.start, data, artefact, oip.signatures(spec.inputs), oip.signatures(spec.outputs)
            )
        except ModelRefused as error:
            log.error("model %s is refused: %s", model[:12], error)
            self.refused.add((service, model))
            return
        before = self._sessions.get(service)
        self._sessions[service] = _Loaded(model, artefact, session)
        log.info("service %s answers with model %s", self._view.services[service].name, model[:12])
        if before is not None:
            await before.session.close()

    # ── For clients ──────────────────────────────────────────────────────────────────────────────────────────────────
    def names(self) -> list[str]:
        """Services that can answer here now."""
        return [self._view.services[service].name for service in self.loaded]

    def describe(self, name: str) -> dict[str, Any]:
        """The model's metadata (OIP)."""
        loaded = self._find(name)
        spec = self._view.records[loaded.model].record.spec
        return oip.metadata(
            name,
            [str(getattr(spec, "version", 1))],
            loaded.session.inputs,
            loaded.session.outputs,
            self._features(loaded.model),
        )

    async def infer(self, name: str, body: bytes) -> tuple[dict[str, Any], Digest]:
        """The answer and its receipt's digest. Raises `BadInference`, `NotReady`, `ReceiptNotDurable`: then there is no answer."""
        loaded = self._find(name)
        service = self._service(name)
        # Apart: eight megabytes of numbers take a while, and the ledger does not wait for them.
        request = await asyncio.to_thread(oip.parse, body, loaded.session.inputs, loaded.session.outputs)
        outputs = await loaded.session.infer(request)
        version = str(getattr(self._view.records[loaded.model].record.spec, "version", 1))
        answer = oip.answer(name, version, request.id, outputs)
        response = canonical.encode(answer)
        try:
            await asyncio.to_thread(self._keep, request.inputs, request.parameters, response)
            receipt = await self._receipts.issue(
                service=service,
                model=loaded.model,
                artefact=loaded.artefact,
                request=request.inputs,
                parameters=request.parameters,
                response=response,
            )
        except Exception as error:
            self.trouble = str(error)
            raise
        self.trouble = ""
        self._counted(name)
        if receipt.sequence % 64 == 0:
            self._changed()
        return {**answer, "parameters": {"receipt": receipt.digest}}, receipt.digest

    @property
    def total(self) -> int:
        return self._receipts.total

    @property
    def pending(self) -> int:
        """Receipts that no root covers yet."""
        return sum(batch.count for batch in self.batches())

    def prediction(self, ref: str) -> Kept | None:
        """A prediction of this node by its receipt's digest or a prefix of it."""
        receipt = self._receipts.find(ref) if all(c in "0123456789abcdef" for c in ref) else None
        if receipt is None:
            return None
        sealed = self._kept.get("predictions", _place(receipt.request, receipt.parameters, receipt.response))
        if sealed is None:
            return Kept(receipt, None, None, None)
        plain = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        return Kept(receipt, *msgspec.msgpack.decode(plain, type=tuple[bytes, bytes, bytes]))

    @property
    def receipts(self) -> Receipts:
        return self._receipts

    def _find(self, name: str) -> _Loaded:
        loaded = self._sessions.get(self._service(name))
        if loaded is None or not loaded.session.ready:
            raise NotReady(f"service `{name}` has no model ready on this node", hint=f"comity show {name}")
        return loaded

    def _service(self, name: str) -> Digest:
        service = self._view.service_named(name)
        if service is None:
            raise NotFound(f"no service `{name[:64]}`", hint="comity ls service")
        return service.digest

    def _features(self, model: Digest) -> list[str]:
        """The columns of the model's one input: those of the study's tables, without the label."""
        study = self._view.records.get(getattr(self._view.records[model].record.spec, "study", Digest("")))
        datasets = getattr(study.record.spec, "datasets", []) if study else []
        columns = getattr(self._view.records[datasets[0]].record.spec, "columns", []) if datasets else []
        return [column.name for column in columns if column.name != "label"]

    def _keep(self, inputs: bytes, parameters: bytes, response: bytes) -> None:
        """What was asked and answered, encrypted: only its digests ever leave, and erasing it erases it for good."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, msgspec.msgpack.encode((inputs, parameters, response)), None)
        write = Write()
        write.put("predictions", _place(*map(_digest, (inputs, parameters, response))), sealed)
        self._kept.write(write)


def _digest(data: bytes) -> Digest:
    from comity.record.digest import sha256

    return sha256(data)


def _place(request: str, parameters: str, response: str) -> bytes:
    return bytes.fromhex(_digest(bytes.fromhex(request + parameters + response)))
