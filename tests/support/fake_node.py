"""A node for the shell's tests: the routes of docs/api.md over a `World`, with authentication, in one small Starlette application.

It keeps no ledger and checks no contract. `FakeNode.serve()` runs it on a real socket; `refusals` scripts errors by route.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from support.world import GENESIS_TIME, ORGS, World, blob, hex20, hex32, make

TOKEN = "fake-token-0123456789abcdef"
SESSION = "fake-session"
LOGIN = "fake-login"
GENESIS = blob("genesis")
CHECKS: list[dict[str, Any]] = [
    {
        "code": "C001",
        "name": "clock",
        "severity": "error",
        "ok": True,
        "detail": "within 1 s of every peer",
        "fix": "",
        "depends_on": [],
    },
    {
        "code": "C004",
        "name": "peers",
        "severity": "warning",
        "ok": False,
        "detail": "2 of 3 connected",
        "fix": "comity members",
        "depends_on": ["C001"],
    },
    {
        "code": "C005",
        "name": "sync",
        "severity": "error",
        "ok": None,
        "detail": "not looked at",
        "fix": "",
        "depends_on": ["C004"],
    },
]


class Failure(Exception):
    """An error of the API on its way out."""

    def __init__(
        self, status: int, code: str, message: str, *, why: str = "", hint: str = "", exit_code: int = 1
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, "why": why, "hint": hint, "exit_code": exit_code}


def _ok(data: object) -> Response:
    return JSONResponse({"schema": "comity/v1", "data": data})


def _failed(error: Failure) -> Response:
    return JSONResponse({"schema": "comity/v1", "error": error.body}, error.status)


@dataclass
class FakeNode:
    """The application and what it was asked: `seen` holds (method, path, body)."""

    org: str = "northfield"
    world: World = field(default_factory=make)
    healthy: bool = True
    refusals: dict[str, Failure] = field(default_factory=dict)
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    mounts: list[BaseRoute] = field(default_factory=list)
    url: str = "http://127.0.0.1:7400"

    def app(self) -> Starlette:
        table: list[tuple[str, str, Callable[[Request, bytes], Any]]] = [
            ("GET", "status", self.status),
            ("GET", "doctor", self.doctor),
            ("GET", "config", self.config),
            ("GET", "members", self.members),
            ("GET", "logs", self.logs),
            ("POST", "logins", self.logins),
            ("GET", "records", self.records),
            ("POST", "records/{ref:path}/verify", self.verify),
            ("GET", "records/{ref:path}", self.record),
            ("GET", "lineage/{ref:path}", self.lineage),
            ("GET", "inbox", self.inbox),
            ("POST", "datasets", self.add_dataset),
            ("POST", "blobs", self.add_blob),
            ("POST", "grants", self.grant),
            ("POST", "revocations", self.revocation),
            ("POST", "studies", self.add_study),
            ("GET", "studies/{ref:path}", lambda r, _: self.world.study(self.find(r, "study"))),
            ("POST", "tasks", self.add_task),
            ("GET", "tasks/{ref:path}", lambda r, _: self.task(self.find(r, "task"))),
            ("POST", "votes", self.vote),
            ("POST", "proposals", self.add_proposal),
            ("GET", "proposals/{ref:path}", lambda r, _: self.world.proposal(self.find(r, "proposal"))),
            ("POST", "services", self.add_service),
            ("GET", "services", self.services),
            ("GET", "ledger", self.ledger),
            ("GET", "ledger/{height:int}", self.block),
        ]
        routes: list[BaseRoute] = [
            Route(f"/api/v1/{path}", self._endpoint(serve), methods=[method]) for method, path, serve in table
        ]
        routes += [
            Route("/api/v1/export/{ref:path}", self._raw(self.export)),
            Route("/v2/models/{service}", self._raw(self.metadata)),
            Route("/v2/models/{service}/infer", self._raw(self.infer), methods=["POST"]),
            Route("/login/{secret}", self.login),
        ]
        return Starlette(routes=[*routes, *self.mounts])

    @contextlib.contextmanager
    def serve(self) -> Iterator[str]:
        """The application on a loopback port, in a thread; gives its address."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(self.app(), log_level="critical", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.005)
            yield self.url
        finally:
            server.should_exit = True
            thread.join()
            listener.close()

    # Doors

    def _check(self, request: Request) -> None:
        if (
            request.headers.get("authorization") != f"Bearer {TOKEN}"
            and request.cookies.get("comity_session") != SESSION
        ):
            raise Failure(
                401,
                "unauthenticated",
                "who is asking?",
                why="no valid token or session",
                hint="comity login",
                exit_code=3,
            )
        path = request.url.path
        if path in self.refusals:
            raise self.refusals[path]

    def _raw(self, serve: Callable[[Request, bytes], Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            try:
                self._check(request)
                self.seen.append((request.method, request.url.path, body))
                return serve(request, body)
            except Failure as error:
                return _failed(error)

        return endpoint

    def _endpoint(self, serve: Callable[[Request, bytes], Any]) -> Callable[[Request], Any]:
        return self._raw(lambda request, body: _ok(serve(request, body)))

    async def login(self, request: Request) -> Response:
        if request.path_params["secret"] != LOGIN:
            return _failed(Failure(401, "unauthenticated", "this link is spent", hint="comity login", exit_code=3))
        answer = RedirectResponse("/", 303)
        answer.set_cookie("comity_session", SESSION, httponly=True, samesite="strict", path="/")
        return answer

    # The node

    def status(self, *_: object) -> Any:
        head = self.world.height
        return {
            "org": self.org,
            "person": f"dev@{self.org}",
            "version": "0.1.0",
            "dev": True,
            "since": GENESIS_TIME,
            "url": self.url,
            "peer": "127.0.0.1:7401",
            "health": "ok" if self.healthy else "warning",
            "failing": [] if self.healthy else [CHECKS[1]],
            "ledger": {
                "chain_id": 31337,
                "genesis": GENESIS,
                "height": head,
                "time": GENESIS_TIME + head,
                "age_s": 2,
                "validators": 4,
                "quorum": 3,
                "validating": True,
                "syncing": False,
                "halted": None,
            },
            "peers": {"connected": 3 if self.healthy else 2, "known": 3},
            "inbox": len(self._waiting()),
            "work": [
                {
                    "name": "train",
                    "about": self._digest("study"),
                    "title": "breast-mlp round 17",
                    "since": GENESIS_TIME + head - 1,
                }
            ],
            "predictions": {"total": 12, "pending": 2},
        }

    def doctor(self, *_: object) -> Any:
        checks = [dict(check, ok=True) for check in CHECKS] if self.healthy else CHECKS
        return {"health": "ok" if self.healthy else "warning", "checks": checks}

    def config(self, *_: object) -> Any:
        return {
            "settings": [
                {"name": "port", "value": 7400, "origin": "flag", "doc": "API and console; peers use the next one."},
                {"name": "approve", "value": "ask", "origin": "default", "doc": "`ask` a person, or `policy`."},
            ]
        }

    def members(self, *_: object) -> Any:
        return {
            "members": [
                {
                    "name": org,
                    "self": org == self.org,
                    "org": hex20(org),
                    "validator": hex20(f"{org} validator"),
                    "endpoint": f"127.0.0.1:{7401 + 10 * index}",
                    "admitted": 0,
                    "connected": None if org == self.org else True,
                    "height": self.world.height,
                }
                for index, org in enumerate(ORGS)
            ]
        }

    def logs(self, request: Request, _: bytes) -> Any:
        lines = [
            {"time": GENESIS_TIME + n, "level": "info", "source": "replica", "text": f"block {n} sealed by 4 of 4"}
            for n in range(1, 4)
        ]
        return {"lines": lines[-int(request.query_params.get("limit", "200")) :]}

    def logins(self, *_: object) -> Any:
        return {"url": f"{self.url}/login/{LOGIN}", "expires_s": 600}

    # Records

    def _digest(self, kind: str) -> str:
        return str(self.world.of(kind)[0]["digest"])

    def find(self, request: Request, kind: str = "") -> str:
        return self.resolve(request.path_params["ref"], kind)

    def resolve(self, ref: str, kind: str = "") -> str:
        org, _, name = ref.rpartition("/")
        found = []
        for brief in self.world.briefs:
            spec = brief["spec"]
            if kind not in ("", brief["kind"]):
                continue
            title = f"{spec.get('name')}@{spec['version']}" if "version" in spec else spec.get("name")
            if brief["digest"].startswith(ref) and len(ref) >= 4:
                return str(brief["digest"])
            if name in (title, spec.get("name")) and org in ("", brief["org"]):
                found.append(brief)
        own = [brief for brief in found if brief["org"] == self.org] or found
        if not own:
            raise Failure(
                404,
                "not-found",
                f"no record `{ref}`",
                why="nothing on the ledger has that name or prefix",
                hint="comity ls",
            )
        if len({brief["org"] for brief in own}) > 1:
            names = ", ".join(f"{brief['org']}/{name}" for brief in own)
            raise Failure(409, "conflict", f"`{ref}` is ambiguous", why=names, hint="name the organisation: org/name")
        return str(own[-1]["digest"])

    def records(self, request: Request, _: bytes) -> Any:
        query = request.query_params
        found = [
            brief
            for brief in reversed(self.world.briefs)
            if query.get("kind") in (None, "", brief["kind"])
            and query.get("org") in (None, "", brief["org"])
            and (
                not query.get("q")
                or query["q"] in brief["spec"].get("name", "")
                or brief["digest"].startswith(query["q"])
            )
        ]
        start, limit = int(query.get("before") or 0), int(query.get("limit") or 50)
        more = len(found) > start + limit
        return {"records": found[start : start + limit], "next": str(start + limit) if more else None}

    def record(self, request: Request, _: bytes) -> Any:
        return self.world.page(self.find(request))

    def verify(self, request: Request, _: bytes) -> Any:
        checks = [
            {"name": "anchored", "ok": True, "detail": "block 9, sealed by 4 of 4 (quorum 3)"},
            {
                "name": "signature",
                "ok": self.healthy,
                "detail": "by northfield" if self.healthy else "recovers to 0x88…, not northfield",
            },
        ]
        return {"digest": self.find(request), "verified": self.healthy, "seconds": "0.031", "checks": checks}

    def lineage(self, request: Request, _: bytes) -> Any:
        focus, refs = self.find(request), self.world.refs
        up, down = {focus}, {focus}
        for digest in reversed(refs):
            if digest in up:
                up |= set(refs[digest])
        for digest in refs:
            if down & set(refs[digest]):
                down.add(digest)
        nodes = [brief for brief in self.world.briefs if brief["digest"] in up | down]
        names = {node["digest"] for node in nodes}
        edges = [{"from": ref, "to": node["digest"]} for node in nodes for ref in refs[node["digest"]] if ref in names]
        return {"focus": focus, "nodes": nodes[:300], "edges": edges, "truncated": len(nodes) > 300}

    def export(self, request: Request, _: bytes) -> Response:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(zipfile.ZipInfo("manifest.json"), json.dumps({"target": self.find(request)}))
        return Response(out.getvalue(), media_type="application/zip")

    # Writes

    def add_dataset(self, request: Request, body: bytes) -> Any:
        query = request.query_params
        old = self.world.of("dataset", name=query["name"])
        rows = body.count(b"\n") - 1
        spec = {
            "name": query["name"],
            "version": 1 + sum(b["org"] == self.org for b in old),
            "commitment": blob("salted"),
            "bytes": len(body),
            "rows": max(rows, 0),
            "columns": [{"name": "a", "type": "int64", "missing": 0}],
            "purposes": query.getlist("purpose"),
            "licence": query["licence"],
            "consent": query["consent"],
        }
        return self.world.brief(self.world.add("dataset", self.org, spec, "current"))

    def add_blob(self, _: Request, body: bytes) -> Any:
        return {"digest": blob(body.decode("latin-1")), "bytes": len(body)}

    def _made(self, kind: str, spec: dict[str, Any], state: str | None = None) -> Any:
        return self.world.brief(self.world.add(kind, self.org, spec, state))

    def grant(self, _: Request, body: bytes) -> Any:
        asked = json.loads(body)
        spec = {
            "dataset": self.resolve(asked["dataset"]),
            "grantee": asked["to"],
            "purposes": asked["purposes"],
            "until": asked["until"],
        }
        return self._made("grant", spec, "valid")

    def revocation(self, _: Request, body: bytes) -> Any:
        asked = json.loads(body)
        return self._made("revocation", {"about": self.resolve(asked["about"]), "because": asked["because"]})

    def add_study(self, _: Request, body: bytes) -> Any:
        asked = json.loads(body)
        asked |= {
            "datasets": [self.resolve(ref) for ref in asked["datasets"]],
            "code_lines": 42,
            "initial": blob("initial"),
            "privacy": "none",
        }
        return self.world.study(self.world.add("study", self.org, asked, "waiting"))

    def add_task(self, _: Request, body: bytes) -> Any:
        asked = json.loads(body)
        limits = {"cpu_s": 60, "wall_s": 120, "memory_bytes": 1 << 30, "output_bytes": 1 << 26} | (
            asked["limits"] or {}
        )
        inputs = [self.resolve(ref) for ref in asked["inputs"]]
        spec = asked | {"inputs": inputs, "environment": "python-3.11", "limits": limits, "nonce": 2}
        digest = self.world.add("task", self.org, spec, "done")
        self.world.add(
            "receipt",
            self.org,
            {
                "of": "task",
                "task": digest,
                "outcome": "done",
                "outputs": {"counts.json": blob("counts")},
                "exit": 0,
                "usage": {"cpu_ms": 412, "wall_ms": 530, "memory_peak_bytes": 48_000_000},
                "isolation": {"network": False},
                "log": blob("log"),
            },
        )
        return self.task(digest)

    def task(self, digest: str) -> Any:
        receipts = self.world.of("receipt", task=digest)
        return {"record": self.world.brief(digest), "place": self.org, "receipt": receipts[0] if receipts else None}

    def vote(self, _: Request, body: bytes) -> Any:
        asked = json.loads(body)
        about = self.world.brief(self.resolve(asked["about"]))
        assert about is not None
        if about["kind"] not in ("study", "proposal"):
            raise Failure(
                400,
                "refused",
                f"a {about['kind']} takes no votes",
                why="only studies and proposals do",
                hint="comity inbox",
            )
        spec = {
            "on": about["kind"],
            "about": about["digest"],
            "choice": asked["choice"],
            "by": f"dev@{self.org}",
            "because": asked["because"],
        }
        return self._made("vote", spec)

    def add_proposal(self, _: Request, body: bytes) -> Any:
        asked = json.loads(body) | {"nonce": 0}
        if asked["action"] == "deploy":
            asked |= {
                "service": self.resolve(asked["service"]),
                "model": self.resolve(asked["model"]),
                "previous": None,
            }
        return self.world.proposal(self.world.add("proposal", self.org, asked, "open"))

    def add_service(self, _: Request, body: bytes) -> Any:
        return self._made("service", json.loads(body), "empty")

    # Reads

    def _waiting(self) -> list[dict[str, Any]]:
        voted = {b["spec"]["about"] for b in self.world.of("vote") if b["org"] == self.org}
        return [b for b in self.world.briefs if b["state"] in ("waiting", "open") and b["digest"] not in voted]

    def inbox(self, *_: object) -> Any:
        return {
            "entries": [
                {
                    "record": brief,
                    "study": self.world.study(brief["digest"]) if brief["kind"] == "study" else None,
                    "proposal": self.world.proposal(brief["digest"]) if brief["kind"] == "proposal" else None,
                }
                for brief in self._waiting()
            ]
        }

    def services(self, *_: object) -> Any:
        found = []
        for brief in self.world.of("service"):
            pointed = [b for b in self.world.of("proposal", service=brief["digest"]) if b["state"] == "executed"]
            last = pointed[-1] if pointed else None
            spec = brief["spec"]
            found.append(
                {
                    "record": brief,
                    "name": spec["name"],
                    "approvals": spec["approvals"],
                    "time_lock_s": spec["time_lock_s"],
                    "model": self.world.brief(last["spec"]["model"]) if last else None,
                    "proposal": last["digest"] if last else None,
                    "since": last["anchor"]["time"] if last else None,
                    "serving": list(ORGS[:3]) if last else [],
                    "predictions": 12 if last else 0,
                }
            )
        return {"services": found}

    def _block(self, height: int) -> dict[str, Any]:
        return {
            "height": height,
            "hash": hex32(f"block {height}"),
            "parent": hex32(f"block {height - 1}"),
            "time": GENESIS_TIME + height,
            "proposer": ORGS[height % 4],
            "round": 0,
            "seals": 4,
            "validators": 4,
            "transactions": sum(brief["anchor"]["height"] == height for brief in self.world.briefs),
            "gas_used": 81204,
        }

    def ledger(self, request: Request, _: bytes) -> Any:
        head = self.world.height
        top = min(head, int(request.query_params.get("before") or head + 1) - 1)
        limit = int(request.query_params.get("limit") or 50)
        return {"height": head, "blocks": [self._block(height) for height in range(top, max(-1, top - limit), -1)]}

    def block(self, request: Request, _: bytes) -> Any:
        height = request.path_params["height"]
        if height > self.world.height:
            raise Failure(
                404, "not-found", f"no block {height}", why=f"the head is {self.world.height}", hint="comity ledger"
            )
        found = [brief for brief in self.world.briefs if brief["anchor"]["height"] == height]
        return {
            "block": self._block(height),
            "state_root": hex32("state"),
            "transactions_root": hex32("txs"),
            "receipts_root": hex32("receipts"),
            "gas_limit": 60_000_000,
            "sealed_by": [{"validator": hex20(f"{org} validator"), "org": org} for org in ORGS],
            "transactions": [
                {
                    "hash": brief["anchor"]["transaction"],
                    "sender": hex20(brief["org"]),
                    "org": brief["org"],
                    "to": "0x00000000000000000000000000000000c0000002",
                    "succeeded": True,
                    "gas_used": 81204,
                    "contract": "Records",
                    "function": "anchor",
                    "arguments": {"kind": brief["kind"]},
                    "record": brief,
                    "events": [
                        {
                            "contract": "Records",
                            "name": "Anchored",
                            "arguments": {"digest": brief["digest"], "kind": brief["kind"]},
                        }
                    ],
                }
                for brief in found
            ],
        }

    # KServe

    def metadata(self, request: Request, _: bytes) -> Response:
        if request.path_params["service"] != "triage":
            return JSONResponse({"error": "no service of that name"}, 404)
        return JSONResponse(
            {
                "name": "triage",
                "versions": ["1"],
                "platform": "onnx",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
                "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
                "parameters": {"features": ["radius", "texture", "perimeter", "area"]},
            }
        )

    def infer(self, request: Request, body: bytes) -> Response:
        tensor = json.loads(body)["inputs"][0]
        rows = tensor["shape"][0]
        outputs = [
            {"name": "label", "datatype": "INT64", "shape": [rows], "data": [1] * rows},
            {"name": "probability", "datatype": "FP32", "shape": [rows, 2], "data": [0.017, 0.983] * rows},
        ]
        return JSONResponse(
            {
                "model_name": request.path_params["service"],
                "outputs": outputs,
                "parameters": {"receipt": blob("prediction")},
            }
        )
