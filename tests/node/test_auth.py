"""The door: tokens, sessions, one-time logins, Host and origin checks."""

from __future__ import annotations

import base64
import hashlib
import itertools

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from comity.node.auth import COOKIE, LOGIN_S_MAX, SESSION_S_MAX, Auth, Credential, Guard
from support.asgi import AsgiClient

HOST = "127.0.0.1:7400"
TOKEN = "a" * 64


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def auth(clock: Clock) -> Auth:
    numbers = itertools.count()
    credential = Credential("anna", frozenset({"read"}))
    return Auth([(hashlib.sha256(TOKEN.encode()).hexdigest(), credential)], clock, lambda: f"secret-{next(numbers)}")


@pytest.fixture
def client(auth: Auth) -> AsgiClient:
    async def who(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.scope["credential"].person)

    app = Starlette(routes=[Route("/who", who, methods=["GET", "POST"])])
    return AsgiClient(Guard(app, auth=auth, hosts=frozenset({HOST})), f"http://{HOST}")


def test_each_way_to_say_who_you_are(client: AsgiClient, auth: Auth) -> None:
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    session = auth.redeem(auth.mint_login(Credential("anna", frozenset())))
    for headers in (
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"Basic {basic}"},
        {"Cookie": f"{COOKIE}={session}"},
    ):
        assert client.get("/who", headers=headers).text == "anna"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer " + "b" * 64},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Digest x"},
        {"Cookie": f"{COOKIE}=guess"},
        {"Cookie": "comity_session=\x01;;;==="},
    ],
)
def test_nobody_gets_in_without(client: AsgiClient, headers: dict[str, str]) -> None:
    answer = client.get("/who", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthenticated"
    assert "hint" in answer.json()["error"]
    assert TOKEN not in answer.text


def test_a_login_opens_once(auth: Auth) -> None:
    secret = auth.mint_login(Credential("anna", frozenset()))
    assert auth.redeem(secret) is not None
    assert auth.redeem(secret) is None
    assert auth.redeem("never minted") is None


def test_logins_and_sessions_grow_old(auth: Auth, clock: Clock) -> None:
    late = auth.mint_login(Credential("anna", frozenset()))
    clock.now += LOGIN_S_MAX + 1
    assert auth.redeem(late) is None
    session = auth.redeem(auth.mint_login(Credential("anna", frozenset())))
    headers = {"cookie": f"{COOKIE}={session}"}
    assert auth.credential(headers) is not None
    clock.now += SESSION_S_MAX + 1
    assert auth.credential(headers) is None


def test_another_host_name_is_refused_with_the_reason(client: AsgiClient) -> None:
    answer = client.get("/who", headers={"Authorization": f"Bearer {TOKEN}", "Host": "evil.example:7400"})
    assert answer.status_code == 421
    assert "evil.example" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"http://{HOST}"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
    ],
)
def test_writes_with_a_cookie_come_from_our_own_page(
    client: AsgiClient, auth: Auth, headers: dict[str, str], status: int
) -> None:
    session = auth.redeem(auth.mint_login(Credential("anna", frozenset())))
    answer = client.post("/who", headers={**headers, "Cookie": f"{COOKIE}={session}"})
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "cross-origin"


def test_a_token_needs_no_origin(client: AsgiClient) -> None:
    answer = client.post("/who", headers={"Authorization": f"Bearer {TOKEN}", "Origin": "http://elsewhere.example"})
    assert answer.status_code == 200


def test_tokens_and_secrets_are_not_kept_in_clear(auth: Auth) -> None:
    secret = auth.mint_login(Credential("anna", frozenset()))
    session = auth.redeem(auth.mint_login(Credential("anna", frozenset())))
    kept = repr((auth.tokens, auth._logins, auth._sessions))
    assert all(text not in kept for text in (TOKEN, secret, str(session)))


def test_a_browser_without_a_session_reads_which_command_opens_the_door(client: AsgiClient) -> None:
    answer = client.get("/who", headers={"Accept": "text/html,application/xhtml+xml"})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert "comity login" in answer.text


def test_what_a_browser_sent_comes_back_as_text_only(client: AsgiClient) -> None:
    answer = client.get("/who", headers={"Accept": "text/html", "Host": "<script>alert(1)</script>"})
    assert answer.status_code == 421
    assert "<script>" not in answer.text
