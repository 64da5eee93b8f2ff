"""What every answer of the console carries, and which writes it takes: security headers, and no request from another site.

Who asks is not settled here: the caller's cookie goes on to the API, which knows.
"""

from __future__ import annotations

from contextlib import aclosing
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FORM_BYTES_MAX = 16 * 1024
FORM_FIELDS_MAX = 16
_FORWARDED = ("cookie", "authorization", "host", "origin", "sec-fetch-site")


def secure(response: Response) -> Response:
    """The response with our headers; what a page set itself stays."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def is_foreign(request: Request) -> str:
    """Why a write is from another site, or nothing. Sec-Fetch-Site first, then Origin (Go 1.25's CrossOriginProtection)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return "" if site in ("same-origin", "none") else f"Sec-Fetch-Site is {site[:40]!r}"
    origin = request.headers.get("origin")
    if origin is None:
        # Neither header: no browser that could be tricked (every one since 2020 sends Origin with a POST).
        return ""
    return "" if urlsplit(origin).netloc == request.headers.get("host") else f"Origin is {origin[:100]!r}"


def forwarded(request: Request) -> dict[str, str]:
    """The headers by which the API judges the caller."""
    return {name: request.headers[name] for name in _FORWARDED if name in request.headers}


async def form(request: Request) -> dict[str, str] | None:
    """The fields of a urlencoded form, or None when it is none or exceeds its limits."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return None
    data = bytearray()
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            data += chunk
            if len(data) > FORM_BYTES_MAX:
                return None
    try:
        return dict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX))
    except ValueError:
        return None
