"""The pages of the console and their `.json` twins: each asks the API as its visitor, and draws a template.

No page decides anything: rights, votes and proofs are the API's. What a page may load stands in `guard`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from comity.record.errors import ComityError
from comity.shell.console import guard
from comity.shell.console.look import environment
from comity.shell.errors import NodeFault, NotFound, ShellError, Unauthenticated, as_json, from_answer
from comity.shell.render.chart import chart
from comity.shell.render.lineage import draw
from comity.shell.wire import SCHEMA, segment

STATIC = Path(__file__).parent / "static"
STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PAGE_RECORDS = 50
HOME_RECORDS = 8
QUERY_CHARACTERS_MAX = 200
_STATUS = {1: 400, 2: 500, 3: 403, 4: 422, 5: 503}
_BY_CODE = {"not-found": 404, "unauthenticated": 401, "conflict": 409, "cross-origin": 403}
_HEIGHT = re.compile(r"[0-9]{1,15}\Z")

Page = Callable[["Visit"], Awaitable[dict[str, Any]]]
"""What a page shows: the values of its template, and the `data` of its JSON twin."""


class Visit:
    """One visitor's request, and the API asked in their name."""

    def __init__(self, request: Request, api: httpx.AsyncClient) -> None:
        self.request = request
        self._api = api

    async def get(self, path: str, **query: str | int | None) -> Any:
        chosen = {name: str(value) for name, value in query.items() if value not in (None, "")}
        return _data(await self._api.get(f"/api/v1/{path}", params=chosen, headers=guard.forwarded(self.request)))

    async def post(self, path: str, body: object = None) -> Any:
        return _data(await self._api.post(f"/api/v1/{path}", json=body, headers=guard.forwarded(self.request)))

    @property
    def ref(self) -> str:
        return segment(str(self.request.path_params["ref"]))

    def query(self, name: str) -> str:
        return self.request.query_params.get(name, "")[:QUERY_CHARACTERS_MAX]


def _data(answer: httpx.Response) -> Any:
    try:
        envelope = answer.json()
    except ValueError:
        raise NodeFault(f"the API answered {answer.status_code} without our envelope") from None
    if not isinstance(envelope, Mapping) or "error" in envelope:
        raise from_answer(envelope.get("error") if isinstance(envelope, Mapping) else None)
    return envelope.get("data")


async def home(visit: Visit) -> dict[str, Any]:
    return {
        "status": await visit.get("status"),
        "inbox": (await visit.get("inbox"))["entries"],
        "services": (await visit.get("services"))["services"],
        "records": (await visit.get("records", limit=HOME_RECORDS))["records"],
        "members": (await visit.get("members"))["members"],
    }


async def inbox(visit: Visit) -> dict[str, Any]:
    return {
        "org": (await visit.get("status"))["org"],
        "entries": (await visit.get("inbox"))["entries"],
        "done": visit.query("done"),
        "choice": visit.query("choice"),
    }


async def records(visit: Visit) -> dict[str, Any]:
    query = {name: visit.query(name) for name in ("kind", "org", "q", "before")}
    page = await visit.get("records", **query, limit=PAGE_RECORDS)
    return {**page, "query": query, "members": (await visit.get("members"))["members"]}


async def record(visit: Visit) -> dict[str, Any]:
    page = await visit.get(f"records/{visit.ref}")
    digest, kind = page["record"]["digest"], page["record"]["kind"]
    page["study"] = await visit.get(f"studies/{digest}") if kind == "study" else None
    page["proposal"] = await visit.get(f"proposals/{digest}") if kind == "proposal" else None
    page["verification"] = None
    return dict(page)


async def lineage(visit: Visit) -> dict[str, Any]:
    return dict(await visit.get(f"lineage/{visit.ref}"))


async def ledger(visit: Visit) -> dict[str, Any]:
    return dict(await visit.get("ledger", limit=PAGE_RECORDS, before=visit.query("before") or None))


async def block(visit: Visit) -> dict[str, Any]:
    height = str(visit.request.path_params["height"])
    if not _HEIGHT.match(height):
        raise NotFound("a block is found by its height", hint="comity ledger")
    return dict(await visit.get(f"ledger/{height}"))


def _extras(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a template needs beyond the data: geometry."""
    if name == "lineage":
        return {"drawing": draw(values)}
    if name == "record" and values.get("study"):
        points = [
            (entry["index"], float(entry["loss"])) for entry in values["study"]["rounds"] if entry["loss"] is not None
        ]
        return {"chart": chart(points)}
    return {}


class Console:
    """The routes of one console over one API client."""

    def __init__(self, api: httpx.AsyncClient) -> None:
        self._api = api
        self._templates = environment()

    def routes(self) -> list[BaseRoute]:
        pages: dict[str, tuple[str, str, Page]] = {
            "home": ("/", "/index.json", home),
            "inbox": ("/inbox", "/inbox.json", inbox),
            "records": ("/records", "/records.json", records),
            "record": ("/records/{ref:path}", "/records/{ref:path}.json", record),
            "lineage": ("/lineage/{ref:path}", "/lineage/{ref:path}.json", lineage),
            "ledger": ("/ledger", "/ledger.json", ledger),
            "block": ("/ledger/{height}", "/ledger/{height}.json", block),
        }
        made: list[BaseRoute] = [
            Route("/static/{name}", self._static),
            Route("/records/{ref:path}/verify", self._verify, methods=["POST"]),
            Route("/inbox/{ref}", self._vote, methods=["POST"]),
        ]
        for name, (path, twin, page) in pages.items():
            made += [Route(twin, self._twin(page)), Route(path, self._page(name, page))]
        return made

    def _page(self, name: str, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                values = await page(Visit(request, self._api))
            except ComityError as error:
                return self._failed(error)
            return self._render(name, values)

        return endpoint

    def _twin(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                return guard.secure(JSONResponse({"schema": SCHEMA, "data": await page(Visit(request, self._api))}))
            except ComityError as error:
                return guard.secure(JSONResponse({"schema": SCHEMA, "error": as_json(error)}, _status(error)))

        return endpoint

    async def _verify(self, request: Request) -> Response:
        """Verify, then the record's page with what was found: the same with and without JavaScript."""
        visit = Visit(request, self._api)
        try:
            self._own(request)
            found = await visit.post(f"records/{visit.ref}/verify")
            values = await record(visit)
        except ComityError as error:
            return self._failed(error)
        return self._render("record", {**values, "verification": found})

    async def _vote(self, request: Request) -> Response:
        visit = Visit(request, self._api)
        try:
            self._own(request)
            fields = await guard.form(request)
            if fields is None or fields.get("choice") not in ("approve", "refuse"):
                raise ShellError("this form is not one of ours", hint="open the inbox again")
            body = {
                "about": str(request.path_params["ref"]),
                "choice": fields["choice"],
                "because": fields.get("because", "").strip(),
            }
            if body["choice"] == "refuse" and not body["because"]:
                raise ShellError(
                    "a refusal wants its reason", why="the others will read it", hint="go back and write one line"
                )
            await visit.post("votes", body)
        except ComityError as error:
            return self._failed(error)
        return guard.secure(RedirectResponse(f"/inbox?done={segment(body['about'])}&choice={body['choice']}", 303))

    def _own(self, request: Request) -> None:
        if reason := guard.is_foreign(request):
            raise from_answer(
                {
                    "code": "cross-origin",
                    "message": "a write from another site is refused",
                    "why": reason,
                    "exit_code": 3,
                }
            )

    async def _static(self, request: Request) -> Response:
        path = STATIC / str(request.path_params["name"])
        # One flat folder, chosen by exact name: there is no path to walk.
        if path.name not in {entry.name for entry in STATIC.iterdir()} or path.suffix not in STATIC_TYPES:
            return self._failed(NotFound("no such file"))
        return guard.secure(
            Response(
                path.read_bytes(),
                media_type=STATIC_TYPES[path.suffix],
                headers={"Cache-Control": "private, max-age=3600"},
            )
        )

    def _render(self, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
        try:
            text = self._templates.get_template(f"{name}.html").render(page=name, **values, **_extras(name, values))
        except jinja2.UndefinedError as error:
            return self._failed(
                NodeFault("the API answered in a shape that this console does not know", why=str(error))
            )
        return guard.secure(HTMLResponse(text, status))

    def _failed(self, error: ComityError) -> Response:
        name = "login" if isinstance(error, Unauthenticated) else "error"
        text = self._templates.get_template(f"{name}.html").render(page=name, error=error)
        return guard.secure(HTMLResponse(text, _status(error)))


def _status(error: ComityError) -> int:
    return _BY_CODE.get(error.code, _STATUS.get(error.exit_code, 500))


def routes(api: httpx.AsyncClient) -> list[BaseRoute]:
    """The console as routes to mount at `/`. `api` reaches the node's API; each visitor's credentials are passed on."""
    return Console(api).routes()
