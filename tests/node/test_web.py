"""The doors of a real node: every route wants a credential, the right host and the right role; hostile clients harm nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.routing import Route

from comity.node import kserve
from comity.node.api import ENTRIES
from comity.node.api.writing import WRITING
from comity.node.auth import Auth, Guard
from comity.node.config import Value
from comity.node.errors import BadConfig
from comity.node.home import ROLES
from comity.node.node import Node
from comity.node.web import application, serve_http
from comity.shell.console import routes as console
from support.live import ALL, TABLE, Live, token_of
from support.story import until

PARTS = {"{ref:path}": "some-name", "{height}": "0", "{digest}": "a" * 64, "{name}": "some-name", "{ref}": "some-name"}
UPLOAD = "/api/v1/datasets?name=never&purpose=diagnosis&licence=l&consent=c"


def table() -> list[tuple[str, str]]:
    """(method, path) of every route of the very application that a node serves, the console among them."""
    auth = Auth([], lambda: 0.0, lambda: "")
    node = cast("Node", SimpleNamespace(auth=auth, serving=None))
    guarded = cast("Guard", application(node, cast("Any", None), cast("Any", None), [console], 7400))
    found = []
    for route in cast("Any", guarded.app).routes:
        assert isinstance(route, Route), f"{route} is not walked: teach this test about it"
        path = route.path.replace("{secret}", "guess")
        for part, value in PARTS.items():
            path = path.replace(part, value)
        found += [(method, path) for method in sorted(route.methods or ())]
    return found


ROUTES = table()
NAMES = [f"{method} {path}" for method, path in ROUTES]
READS = {("GET", "/metrics"), ("POST", "/rpc")}


def test_the_walk_sees_everything() -> None:
    walked = {path for _, path in ROUTES}
    assert {"/rpc", "/metrics", "/healthz", "/v2", "/", "/inbox", "/static/some-name", "/api/v1/status"} <= walked
    assert len(ROUTES) > len(ENTRIES) + len(kserve.routes(cast("Any", None)))


@pytest.mark.net
@pytest.mark.parametrize(("method", "path"), ROUTES, ids=NAMES)
def test_each_route_asks_who_it_is(live: Live, method: str, path: str) -> None:
    with live.http("") as http:
        for headers in (
            {},
            {"Authorization": "Bearer " + "0" * 64},
            {"Authorization": f"Digest {token_of(ALL)}"},
            {"Cookie": "comity_session=guess"},
        ):
            answer = http.request(method, path, headers=headers)
            assert answer.status_code == 401, answer.text
            assert token_of(ALL) not in answer.text
            if method != "HEAD":
                error = answer.json()["error"]
                assert isinstance(error, str) if path.startswith("/v2") else error["code"] == "unauthenticated"


@pytest.mark.net
@pytest.mark.parametrize(("method", "path"), ROUTES, ids=NAMES)
def test_each_route_refuses_a_foreign_host_and_a_foreign_page(live: Live, method: str, path: str) -> None:
    cookie = {"Cookie": "comity_session=" + session(live)}
    with live.http() as http:
        assert http.request(method, path, headers={"Host": "evil.example"}).status_code == 421
    if method not in ("GET", "HEAD"):
        with live.http("") as http:
            for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
                answer = http.request(method, path, headers={**headers, **cookie})
                assert answer.status_code == 403
                assert "another site" in answer.text


def session(live: Live) -> str:
    """A cookie of its own, by the way a browser gets one."""
    link = live.post("/api/v1/logins")["url"]
    with live.http("") as http:
        answer = http.get(link)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert http.get(link).status_code == 401, "a link opens once"
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "Path=/"} <= set(cookie.split("; "))
        assert "samesite=strict" in cookie.lower()
    return cookie.partition("=")[2].partition(";")[0]


@pytest.mark.net
def test_a_cookie_opens_the_console_but_no_other_session(live: Live) -> None:
    with live.http("", cookies={"comity_session": session(live)}) as http:
        assert http.get("/").status_code == 200
        assert http.get("/api/v1/status").json()["data"]["person"] == "all@test"
        assert http.post("/api/v1/logins").status_code == 401
        assert http.get("/api/v1/status", headers={"Authorization": "Bearer nobody"}).status_code == 401


@pytest.mark.net
def test_a_role_opens_its_own_routes_and_no_others(live: Live) -> None:
    wanted = {(entry.method, entry.path): entry.role for entry in ENTRIES}
    wanted |= {
        (m, r.path): "predict" for r in kserve.routes(cast("Any", None)) for m in (r.methods or ()) if m != "HEAD"
    }
    wanted |= dict.fromkeys(READS, "read")
    for role in ROLES:
        with live.http(role) as http:
            for (method, path), needs in wanted.items():
                if role == needs:
                    continue
                for part, value in PARTS.items():
                    path = path.replace(part, value)
                answer = http.request(method, path)
                assert (answer.status_code, f"the role `{needs}`" in answer.text) == (403, True), (role, method, path)


def test_what_changes_something_is_not_for_readers() -> None:
    assert [entry.path for entry in WRITING if entry.role == "read"] == ["/api/v1/logins"]
    assert all(entry.role in ROLES for entry in ENTRIES)
    assert {entry.role for entry in WRITING if "vote" in entry.path or "grant" in entry.path} == {"approve"}


@pytest.mark.net
def test_a_reader_reads_the_chain_and_sends_nothing(live: Live) -> None:
    read = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
    send = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": ["0x00"]}
    disguised = json.dumps([send]).replace("Raw", "\\u0052aw")
    with live.http("read") as http:
        assert "result" in http.post("/rpc", json=read).json()
        assert "`operate`" in http.post("/rpc", json=send).json()["error"]["message"]
        assert "`operate`" in http.post("/rpc", content=disguised).json()[0]["error"]["message"]
    with live.http("operate") as http:
        assert http.post("/rpc", json=send).status_code == 403
    with live.http() as http:
        assert "`operate`" not in http.post("/rpc", json=send).text


@pytest.mark.net
def test_health_wants_a_credential_of_any_role(live: Live) -> None:
    for role in ROLES:
        with live.http(role) as http:
            assert http.get("/healthz").json() == {"schema": "comity/v1", "data": {"health": "ok"}}


@pytest.mark.net
def test_no_secret_is_logged(live: Live) -> None:
    secret = session(live)
    with live.http() as http:
        http.post("/api/v1/grants", content=b"{")
        http.get("/login/" + token_of("read"))
        http.get("/api/v1/status", headers={"Authorization": "Bearer " + token_of("nobody")})
    logged = live.log() + json.dumps(live.get("/api/v1/logs", limit=2000)) + json.dumps(live.get("/api/v1/config"))
    for token in (*map(token_of, (ALL, "nobody", *ROLES)), secret):
        assert token not in logged
    for key in (live.home / "keys").iterdir():
        assert key.read_text().strip() not in logged


@pytest.mark.net
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/../../../etc/passwd", "/api/v1/records/%2e%2e%2f%2e%2e%2fkeys%2forg.key", "/api/v1/blobs/..%2f..%2fkeys",
        "/api/v1/records/%252e%252e%252fkeys", "/api/v1/records/..\\..\\keys", "/api/v1/records/x%23y", "/api/v1/records/%00",
        "/api/v1/records/%ff%fe", "/api/v1/export/" + "a" * 4000, "/api/v1/lineage/" + "../" * 50, "/api/v1/ledger/%2e%2e",
        "/api/v1/ledger/-1", "/api/v1/ledger/1e3", "/api/v1/ledger/99999999999999999999", "/static/..%2fpages.py",
        "/static/%2e%2e/pages.py", "/static/%252e%252e%252fpages.py", "//evil.example/api/v1/status/", "/api/v1/tasks/",
        "/api/v1/studies/%E2%80%AE", "/login/../api/v1/status", "/v2/models/../../keys", "/v2/models/%00/infer",
    ],
)  # fmt: skip
def test_path_tricks_find_nothing(live: Live, path: str) -> None:
    line = f"GET {path} HTTP/1.1\r\nHost: {live.url[7:]}\r\nAuthorization: Bearer {token_of(ALL)}\r\nConnection: close\r\n\r\n"
    answer = raw(live, line.encode()).decode(errors="replace")
    status = int(answer.split(" ", 2)[1])
    assert 400 <= status < 500, answer[:300]
    assert "root:" not in answer
    assert (live.home / "keys" / "org.key").read_text().strip() not in answer


def raw(live: Live, data: bytes) -> bytes:
    """What comes back on a connection of its own."""
    with connection(live) as sock:
        sock.sendall(data)
        return drain(sock)


def drain(sock: socket.socket) -> bytes:
    out = b""
    try:
        while piece := sock.recv(65536):
            out += piece
    except ConnectionError:
        pass
    return out


@contextmanager
def connection(live: Live) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", int(live.url.rpartition(":")[2])), timeout=10) as sock:
        yield sock


def head(live: Live, method: str, path: str, *lines: str) -> bytes:
    first = (f"{method} {path} HTTP/1.1", f"Host: {live.url[7:]}", f"Authorization: Bearer {token_of(ALL)}")
    return "\r\n".join((*first, *lines, "", "")).encode()


def resident(live: Live) -> int:
    """Bytes of memory of the node's main process."""
    pages = int(Path(f"/proc/{live.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(live: Live) -> int:
    return len(list(Path(f"/proc/{live.pid}/fd").iterdir()))


def answers(live: Live, seconds: float = 2.0) -> None:
    """The node answers somebody else within that time."""
    began = time.monotonic()
    live.get("/api/v1/status")
    assert time.monotonic() - began < seconds


@pytest.mark.net
@pytest.mark.parametrize(
    ("path", "bytes_max"),
    [("/api/v1/grants", 1 << 20), (UPLOAD, 1 << 28), ("/api/v1/blobs", 1 << 28), ("/rpc", 8 << 20),
     ("/v2/models/x/infer", 8 << 20)],
)  # fmt: skip
def test_a_body_that_says_it_is_too_large_is_not_read(live: Live, path: str, bytes_max: int) -> None:
    answer = raw(live, head(live, "POST", path, f"Content-Length: {bytes_max + 1}", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 413"), answer
    assert str(bytes_max).encode() in answer


@pytest.mark.net
@pytest.mark.parametrize("path", ["/api/v1/votes", "/rpc", "/v2/models/x/infer"])
def test_a_body_without_end_is_cut_at_its_limit(live: Live, path: str) -> None:
    before, piece = resident(live), b"10000\r\n" + b" " * 65536 + b"\r\n"
    with connection(live) as sock:
        sock.sendall(head(live, "POST", path, "Transfer-Encoding: chunked"))
        sock.setblocking(False)
        sent, answer = 0, b""
        deadline = time.monotonic() + 10
        while not answer and sent < 256 and time.monotonic() < deadline:
            try:
                sent += sock.send(piece) == len(piece)  # a torn chunk is as good: it only has to go on
            except BlockingIOError:
                time.sleep(0.001)
            except ConnectionError:
                break
            try:
                answer = sock.recv(4096)
            except BlockingIOError:
                continue
            except ConnectionError:
                break
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))
    assert sent < 256
    assert resident(live) - before < 64 << 20
    answers(live)


@pytest.mark.net
def test_a_client_that_leaves_in_the_middle_leaves_nothing(live: Live) -> None:
    blobs, records = sorted((live.home / "blobs").rglob("*")), len(live.get("/api/v1/records", limit=200)["records"])
    before = descriptors(live)
    for path in (UPLOAD, "/api/v1/blobs", "/api/v1/votes", "/rpc", "/v2/models/x/infer"):
        with connection(live) as sock:
            sock.sendall(head(live, "POST", path, "Content-Length: 900000") + TABLE)
    until(lambda: descriptors(live) <= before)
    answers(live)
    assert sorted((live.home / "blobs").rglob("*")) == blobs
    assert len(live.get("/api/v1/records", limit=200)["records"]) == records
    assert not [line for line in live.get("/api/v1/logs", level="error")["lines"] if "Disconnect" in line["text"]]


@pytest.mark.net
def test_slow_clients_hold_nobody(live: Live) -> None:
    with connection(live) as one, connection(live) as other:
        one.sendall(b"GET /api/v1/status HT")
        other.sendall(head(live, "POST", "/api/v1/votes", "Content-Length: 1000"))
        for _ in range(5):
            one.sendall(b"T")
            other.sendall(b"{")
            answers(live)


@pytest.mark.net
def test_headers_without_end_are_refused(live: Live) -> None:
    before = resident(live)
    with connection(live) as sock:
        with suppress(ConnectionError):
            sock.sendall(b"GET / HTTP/1.1\r\n" + b"X-More: " + b"a" * (4 << 20))
        assert not drain(sock).startswith(b"HTTP/1.1 200")
    assert resident(live) - before < 32 << 20


@pytest.mark.net
def test_two_hundred_at_once(live: Live) -> None:
    before = descriptors(live)

    async def all_of_them() -> list[int]:
        headers = {"Authorization": f"Bearer {token_of(ALL)}"}
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=live.url, headers=headers, limits=limits, timeout=30) as http:
            paths = ("/api/v1/status", "/api/v1/records", "/api/v1/ledger?limit=5", "/metrics")
            found = await asyncio.gather(*(http.get(paths[number % 4]) for number in range(200)))
        return [answer.status_code for answer in found]

    assert set(asyncio.run(all_of_them())) == {200}
    until(lambda: descriptors(live) <= before + 3)
    answers(live)


@pytest.mark.net
def test_a_watcher_that_never_reads_holds_nobody_and_gives_its_place_back(live: Live) -> None:
    before = descriptors(live)
    with connection(live) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.sendall(head(live, "GET", "/api/v1/events"))
        for number in range(5):
            live.add(f"news-{number}")
        answers(live)
    # More than the hub's places, one after the other: each must give its own back.
    for _ in range(300):
        with connection(live) as sock:
            sock.sendall(head(live, "GET", "/api/v1/events"))
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
    until(lambda: descriptors(live) <= before + 3)
    with connection(live) as sock:
        sock.sendall(head(live, "GET", "/api/v1/events"))
        sock.recv(4096)
        live.add("news-last")
        assert b"event: block" in sock.recv(4096)


@pytest.mark.net
def test_nothing_is_spoken_but_http(live: Live) -> None:
    key = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    )
    answer = raw(live, head(live, "GET", "/api/v1/nothing", *key, "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 404")
    assert not raw(live, b"\x16\x03\x01\x00\xa5\x01\x00\x00").startswith(b"HTTP/1.1 2")
    answers(live)


def test_only_our_own_host_is_listened_on(caplog: pytest.LogCaptureFixture) -> None:
    async def listen(host: str, port: int) -> None:
        values = {"host": Value(host, "flag"), "port": Value(port, "flag")}
        async with serve_http(cast("Any", None), values):
            pass

    with pytest.raises(BadConfig, match=r"refusing to listen on 0\.0\.0\.0"):
        asyncio.run(listen("0.0.0.0", 0))
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadConfig, match="is not free"):
        asyncio.run(listen("127.0.0.1", taken.getsockname()[1]))
    with caplog.at_level(logging.WARNING):
        asyncio.run(listen("127.0.0.1", 0))
    assert not caplog.records


@pytest.mark.net
def test_an_answer_does_not_wait_for_an_acknowledgement(live: Live) -> None:
    with live.http() as http:
        http.get("/v2/health/live")
        took = []
        for _ in range(15):
            began = time.monotonic()
            http.get("/v2/health/live")
            took.append(time.monotonic() - began)
    assert sorted(took)[7] < 0.03, "40 ms: Nagle's algorithm is on"
