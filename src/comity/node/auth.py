"""Who is asking, and from where: tokens, sessions, one-time logins, and the guard before every route.

No flag turns it off. What a role may do stands with the routes, in `api`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from comity.node.answers import failure, status_of
from comity.node.errors import CrossOrigin, Unauthenticated, WrongHost
from comity.record.errors import ComityError

COOKIE = "comity_session"
LOGIN_S_MAX = 600
SESSION_S_MAX = 12 * 3600
SESSIONS_MAX = 1000
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Credential:
    """A person who proved a token or a session, and the roles that came with it."""

    person: str
    roles: frozenset[str]


def _hash(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass
class Auth:
    """Tokens (hashed at rest), one-time logins and sessions (hashed in memory, gone at restart)."""

    tokens: list[tuple[str, Credential]]
    now: Callable[[], float]
    secret: Callable[[], str]
    _logins: dict[str, tuple[Credential, float]] = field(default_factory=dict)
    _sessions: dict[str, tuple[Credential, float]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, *, now: Callable[[], float], secret: Callable[[], str]) -> Auth:
        """Read `tokens.json`: a list of {person, roles, sha256}."""
        rows = json.loads(path.read_bytes())
        return cls([(row["sha256"], Credential(row["person"], frozenset(row["roles"]))) for row in rows], now, secret)

    def credential(self, headers: Mapping[str, str]) -> Credential | None:
        """The caller named by a bearer token, a Basic password (for Ethereum tools), or a session cookie."""
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._token(value.strip())
        if scheme.lower() == "basic":
            return self._token(_basic_password(value))
        session = _cookie(headers.get("cookie", ""))
        return self._live(self._sessions, session) if session else None

    def mint_login(self, credential: Credential) -> str:
        """A secret that opens one session, once, within ten minutes."""
        secret = self.secret()
        self._logins[_hash(secret)] = (credential, self.now() + LOGIN_S_MAX)
        return secret

    def redeem(self, secret: str) -> str | None:
        """Trade a login secret for a session id; None if it is spent, old or unknown."""
        credential = self._live(self._logins, secret)
        self._logins.pop(_hash(secret), None)
        if credential is None:
            return None
        if len(self._sessions) >= SESSIONS_MAX:
            self._sessions.pop(next(iter(self._sessions)))
        session = self.secret()
        self._sessions[_hash(session)] = (credential, self.now() + SESSION_S_MAX)
        return session

    def _token(self, token: str) -> Credential | None:
        digest = _hash(token)
        found = None
        for known, credential in self.tokens:
            if hmac.compare_digest(known, digest):
                found = credential
        return found

    def _live(self, table: dict[str, tuple[Credential, float]], secret: str) -> Credential | None:
        entry = table.get(_hash(secret))
        return entry[0] if entry and entry[1] > self.now() else None


def _basic_password(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _cookie(header: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None


class Guard:
    """ASGI middleware before every route: Host allow-list, same-origin writes, then a credential in `scope["credential"]`.

    Only `/login/{secret}` passes without a credential: the secret is one.
    """

    def __init__(self, app: ASGIApp, *, auth: Auth, hosts: frozenset[str]) -> None:
        self.app, self.auth, self.hosts = app, auth, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check(scope, headers)
        except (WrongHost, CrossOrigin, Unauthenticated) as error:
            answer = door_page(error) if _is_browsing(scope, headers) else failure(error, scope["path"])
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if host not in self.hosts:
            raise WrongHost(
                f"this node does not answer to the host name {host[:100]!r}",
                why="DNS rebinding protection",
                hint=f"use {min(self.hosts)}",
            )
        if scope["path"].startswith("/login/"):
            return
        if "authorization" not in headers and scope["method"] not in SAFE_METHODS:
            _check_same_origin(headers, host)
        credential = self.auth.credential(headers)
        if credential is None:
            raise Unauthenticated(
                "who is asking?",
                why="no valid token or session",
                hint="comity login opens the console; the API wants Authorization: Bearer",
            )
        scope["credential"] = credential


def _check_same_origin(headers: Headers, host: str) -> None:
    """A browser that carries our cookie must be on our own page (the algorithm of Go 1.25's CrossOriginProtection)."""
    site = headers.get("sec-fetch-site")
    if site in ("same-origin", "none"):
        return
    origin = headers.get("origin")
    if site is not None or (origin is not None and origin.partition("://")[2] != host):
        raise CrossOrigin(
            "a write from another site is refused", why=f"Sec-Fetch-Site {site!r}, Origin {(origin or '')[:100]!r}"
        )


def _is_browsing(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "GET" and "text/html" in headers.get("accept", "")


def door_page(error: ComityError) -> Response:
    """What a person with a browser sees who is not let in: the reason, and the command that opens the door."""
    text = "".join(f"<p>{escape(line)}</p>" for line in (error.what, error.why, error.hint) if line)
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Comity</title><h1>Comity</h1>{text}</html>'
    policy = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cache-Control": "no-store"}
    return HTMLResponse(page, status_of(error), policy)
