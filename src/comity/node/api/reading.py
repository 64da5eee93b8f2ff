"""Routes that only look: the view in the shapes of docs/api.md, and what this node itself sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from comity.ledger import evidence
from comity.node import blocks, present
from comity.node.api.dispatch import Entry, integer
from comity.node.errors import BadRequest, NotFound
from comity.node.node import Node
from comity.record.types import Digest

PAGE_MAX = 200
PAGE_DEFAULT = 50
SEARCH_CHARACTERS_MAX = 128


async def status(node: Node, request: Request) -> Any:
    return node.status(request.scope["credential"].person)


async def doctor(node: Node, request: Request) -> Any:
    return node.doctor.examine()


async def config(node: Node, request: Request) -> Any:
    return {"settings": node.settings()}


async def members(node: Node, request: Request) -> Any:
    return {"members": node.members()}


async def logs(node: Node, request: Request) -> Any:
    level = request.query_params.get("level", "debug")
    if level not in ("debug", "info", "warning", "error"):
        raise BadRequest(
            "`level` is debug, info, warning or error", why=f"got {level[:40]!r}", hint="leave it out for all"
        )
    return {"lines": node.journal.lines(limit=integer(request, "limit", 200, least=1, most=2000), level=level)}


async def events(node: Node, request: Request) -> Response:
    async def stream() -> AsyncIterator[bytes]:
        async for event, data in node.hub.subscribe():
            yield f"event: {event}\ndata: {data}\n\n".encode()

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def records(node: Node, request: Request) -> Any:
    query, view = request.query_params, node.view
    limit = integer(request, "limit", PAGE_DEFAULT, least=1, most=PAGE_MAX)
    before = _place(query.get("before"))
    q = query.get("q", "")[:SEARCH_CHARACTERS_MAX]
    found = []
    for anchored in reversed(view.records.values()):
        if before is not None and (anchored.height, anchored.index) >= before:
            continue
        if query.get("kind") not in (None, "", anchored.kind) or query.get("org") not in (None, "", anchored.org):
            continue
        if q and q not in getattr(anchored.record.spec, "name", "") and not anchored.digest.startswith(q):
            continue
        found.append(anchored)
        if len(found) > limit:
            break
    page = found[:limit]
    more = f"{page[-1].height}.{page[-1].index}" if len(found) > limit else None
    return {"records": [present.brief(view, a) for a in page], "next": more}


def _place(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    height, _, index = text.partition(".")
    if not (height.isascii() and height.isdigit() and index.isascii() and index.isdigit() and len(text) < 32):
        raise BadRequest("`before` is the `next` of the page before", why=f"got {text[:40]!r}", hint="leave it out")
    return int(height), int(index)


async def record(node: Node, request: Request) -> Any:
    return present.record_page(node.view, node.desk.find(request.path_params["ref"]), node.held)


async def verify(node: Node, request: Request) -> Any:
    began = time.monotonic()
    anchored = node.desk.find(request.path_params["ref"])
    files = await node.evidence(anchored.digest)
    report = await asyncio.to_thread(evidence.verify, files, node.genesis_hash)
    return {
        "digest": anchored.digest, "verified": report.ok, "seconds": f"{time.monotonic() - began:.3f}",
        "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in report.checks],
    }  # fmt: skip


async def export(node: Node, request: Request) -> Response:
    ref = request.path_params["ref"]
    prediction = node.serving.prediction(ref)
    target = prediction.receipt.digest if prediction else node.desk.find(ref).digest
    data = await asyncio.to_thread(evidence.write_zip, await node.evidence(target, prediction))
    return Response(data, media_type="application/zip")


async def lineage(node: Node, request: Request) -> Any:
    return present.lineage(node.view, node.desk.find(request.path_params["ref"]).digest)


async def blob(node: Node, request: Request) -> Response:
    digest = Digest(request.path_params["digest"])
    if not node.may_serve(digest):
        raise NotFound(f"no public artefact `{digest[:12]}` here", hint="comity show says which blobs this node holds")
    return Response(await asyncio.to_thread(node.blobs.get, digest), media_type="application/octet-stream")


async def study(node: Node, request: Request) -> Any:
    return present.study_page(node.view, node.view.studies[node.desk.find(request.path_params["ref"], "study").digest])


async def task(node: Node, request: Request) -> Any:
    return present.task_page(node.view, node.desk.find(request.path_params["ref"], "task").digest)


async def proposal(node: Node, request: Request) -> Any:
    return present.proposal_page(node.view, node.desk.find(request.path_params["ref"], "proposal").digest)


async def inbox(node: Node, request: Request) -> Any:
    return {"entries": [present.inbox_entry(node.view, a) for a in node.view.pending_for(node.org)]}


async def services(node: Node, request: Request) -> Any:
    return {"services": [present.service_entry(node.view, d) for d in node.view.services]}


async def ledger(node: Node, request: Request) -> Any:
    head = int(node.view.height)
    limit = integer(request, "limit", PAGE_DEFAULT, least=1, most=PAGE_MAX)
    top = min(head, integer(request, "before", head + 1, least=0, most=2**53) - 1)
    entries = [await blocks.summary(node, height) for height in range(top, max(-1, top - limit), -1)]
    return {"height": head, "blocks": entries}


async def block(node: Node, request: Request) -> Any:
    text = request.path_params["height"]
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= node.view.height):
        raise NotFound(f"no block {text[:20]}", why=f"the head is {node.view.height}", hint="comity ledger")
    return await blocks.page(node, int(text))


READING = (
    Entry("GET", "/api/v1/status", "read", status),
    Entry("GET", "/api/v1/doctor", "read", doctor),
    Entry("GET", "/api/v1/config", "read", config),
    Entry("GET", "/api/v1/members", "read", members),
    Entry("GET", "/api/v1/logs", "operate", logs),
    Entry("GET", "/api/v1/events", "read", events),
    Entry("GET", "/api/v1/records", "read", records),
    Entry("POST", "/api/v1/records/{ref:path}/verify", "read", verify),
    Entry("GET", "/api/v1/records/{ref:path}", "read", record),
    Entry("GET", "/api/v1/lineage/{ref:path}", "read", lineage),
    Entry("GET", "/api/v1/export/{ref:path}", "read", export),
    Entry("GET", "/api/v1/blobs/{digest}", "read", blob),
    Entry("GET", "/api/v1/studies/{ref:path}", "read", study),
    Entry("GET", "/api/v1/tasks/{ref:path}", "read", task),
    Entry("GET", "/api/v1/proposals/{ref:path}", "read", proposal),
    Entry("GET", "/api/v1/inbox", "read", inbox),
    Entry("GET", "/api/v1/services", "read", services),
    Entry("GET", "/api/v1/ledger", "read", ledger),
    Entry("GET", "/api/v1/ledger/{height}", "read", block),
)
