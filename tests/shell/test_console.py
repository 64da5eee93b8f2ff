"""The console's pages as HTML: what they show, what they refuse, and that no template can run or load anything foreign."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from starlette.applications import Starlette

from comity.shell import console
from comity.shell.console.guard import POLICY
from support.fake_node import SESSION, Failure, FakeNode

BASE = "http://127.0.0.1:7400"
ROOT = Path(console.__file__).parent
TEMPLATES = sorted((ROOT / "templates").glob("*.html"))
PAGES = {
    "/": "/index.json",
    "/inbox": "/inbox.json",
    "/records": "/records.json",
    "/records/breast-mlp@1": "/records/breast-mlp@1.json",
    "/records/476e7a733199": "/records/476e7a733199.json",
    "/records/801c7027bffb": "/records/801c7027bffb.json",
    "/lineage/breast-mlp@1": "/lineage/breast-mlp@1.json",
    "/ledger": "/ledger.json",
    "/ledger/9": "/ledger/9.json",
}
STUDY = "476e7a733199171522ea768f42a7a0c7e8aabb29c54992a35d9f3c767365bb54"


@pytest.fixture
def fake() -> FakeNode:
    return FakeNode()


class Browser:
    """Requests to the console in process, with a cookie jar and without following redirects."""

    def __init__(self, fake: FakeNode) -> None:
        api = httpx.AsyncClient(transport=httpx.ASGITransport(app=fake.app()), base_url=BASE)
        self._app = Starlette(routes=console.routes(api))
        self.cookies = {"comity_session": SESSION}

    def get(self, path: str, *, headers: dict[str, str] | None = None) -> httpx.Response:
        return asyncio.run(self._send("GET", path, headers=headers))

    def post(self, path: str, **body: Any) -> httpx.Response:
        return asyncio.run(self._send("POST", path, **body))

    async def _send(self, method: str, path: str, **body: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=self._app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, cookies=self.cookies) as client:
            return await client.request(method, path, **body)


@pytest.fixture
def browser(fake: FakeNode) -> Browser:
    """A browser that has logged in."""
    return Browser(fake)


class Reader(HTMLParser):
    """Checks nesting, and keeps elements for questions."""

    VOID = frozenset({"meta", "link", "img", "input", "br", "line", "rect", "path", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag, f"</{tag}> closes something else"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("path", PAGES)
def test_a_page(path: str, browser: Browser) -> None:
    answer = browser.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    page = Reader(answer.text)
    assert len(page.all("h1")) == 1
    assert len(page.all("main")) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith(("on", "hx-on"))]
    assert all(image.get("alt") is not None for image in page.all("img"))


@pytest.mark.parametrize("path", PAGES)
def test_its_twin(path: str, browser: Browser) -> None:
    answer = browser.get(PAGES[path])
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"schema", "data"}
    assert answer.headers["content-security-policy"] == POLICY


@pytest.mark.parametrize("path", PAGES)
def test_its_links_lead_somewhere(path: str, browser: Browser) -> None:
    links = {attributes.get("href") or "" for attributes in Reader(browser.get(path).text).all("a")}
    for link in sorted(links):
        assert link.startswith(("/", "#")), link
        if not link.startswith(("#", "/api/")) and not link.endswith("/55"):
            assert browser.get(link).status_code == 200, link


@pytest.mark.parametrize("template", TEMPLATES, ids=[path.name for path in TEMPLATES])
def test_template_lint(template: Path) -> None:
    text = template.read_text()
    forbidden = (
        r"hx-on",
        r"\bjs:",
        r"\bstyle=",
        r"<style",
        r"<script(?![^>]*\bsrc=\"/static/)",
        r"\son[a-z]+=",
        r"\|\s*safe",
        r"javascript:",
        r"hx-vals",
        r"hx-confirm",
        r"hx-trigger=\"[^\"]*\[",
        r"(?:src|href)=\"(?:https?:)?//",
        r"autoescape",
    )
    for pattern in forbidden:
        assert not re.search(pattern, text), pattern


def test_no_script_evaluates_text() -> None:
    ours = (ROOT / "static" / "console.js").read_text()
    assert not re.search(r"\beval\b|new Function|innerHTML|insertAdjacentHTML|document\.write", ours)
    assert (ROOT / "static" / "htmx.LICENSE").read_text().startswith("Zero-Clause BSD")


def test_without_a_session_a_friendly_page(browser: Browser) -> None:
    browser.cookies.clear()
    for path, twin in PAGES.items():
        answer = browser.get(path)
        assert answer.status_code == 401
        assert "comity login" in answer.text
        assert browser.get(twin).json()["error"]["code"] == "unauthenticated"
    assert browser.post(f"/records/{STUDY}/verify").status_code == 401


def test_home_says_how_things_are(browser: Browser, fake: FakeNode) -> None:
    text = browser.get("/").text
    assert "dev keys, worthless in production" in text
    assert "reads breast@1 for diagnosis" in text
    fake.healthy = False
    assert "2 of 3 connected" in browser.get("/").text


def test_verify_works_without_javascript(browser: Browser, fake: FakeNode) -> None:
    answer = browser.post(f"/records/{STUDY}/verify", headers={"sec-fetch-site": "same-origin"})
    assert answer.status_code == 200
    assert "✓ Verified" in answer.text
    fake.healthy = False
    answer = browser.post(f"/records/{STUDY}/verify", headers={"sec-fetch-site": "same-origin"})
    assert "✗ Not what was sealed" in answer.text
    assert "recovers to 0x88…, not northfield" in answer.text


def test_a_vote(browser: Browser, fake: FakeNode) -> None:
    answer = browser.post(
        f"/inbox/{STUDY}", data={"choice": "approve", "because": " good "}, headers={"origin": "http://127.0.0.1:7400"}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, f"/inbox?done={STUDY}&choice=approve")
    assert fake.world.of("vote")[-1]["spec"]["because"] == "good"
    after = browser.get(answer.headers["location"]).text
    assert "✓ Approved" in after
    assert "breast-deep" not in after


def test_the_inbox_says_which_of_our_data_is_read(browser: Browser, fake: FakeNode) -> None:
    for org in ("northfield", "lakeside"):
        fake.org = org
        assert "<li>reads breast@1 for diagnosis</li>" in browser.get("/inbox").text
    fake.org = "health-office"
    assert "<li>reads none of your data for diagnosis</li>" in browser.get("/inbox").text


def test_a_refusal_wants_its_reason(browser: Browser, fake: FakeNode) -> None:
    votes = len(fake.world.of("vote"))
    answer = browser.post(f"/inbox/{STUDY}", data={"choice": "refuse", "because": "  "})
    assert answer.status_code == 400
    assert "a refusal wants its reason" in answer.text
    assert len(fake.world.of("vote")) == votes


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:7400"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:7401"},
        {"origin": "http://127.0.0.1:7400.evil.example"},
    ],
)
def test_another_site_may_not_write(headers: dict[str, str], browser: Browser, fake: FakeNode) -> None:
    for path in (f"/inbox/{STUDY}", f"/records/{STUDY}/verify"):
        answer = browser.post(path, data={"choice": "approve"}, headers=headers)
        assert answer.status_code == 403
        assert "another site" in answer.text
    assert not fake.seen


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"choice=approve", "text/plain"),
        (b"choice=maybe", "application/x-www-form-urlencoded"),
        (b"", "application/x-www-form-urlencoded"),
        (b"choice=approve&because=" + b"x" * 20_000, "application/x-www-form-urlencoded"),
        (b"a&" * 100, "application/x-www-form-urlencoded"),
        (b"choice=\xff", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
    ],
)
def test_a_form_that_is_not_ours(content: bytes, kind: str, browser: Browser, fake: FakeNode) -> None:
    assert browser.post(f"/inbox/{STUDY}", content=content, headers={"content-type": kind}).status_code == 400
    assert not fake.seen


def test_only_the_visitors_credentials_go_on(browser: Browser, fake: FakeNode) -> None:
    browser.get("/", headers={"x-forwarded-for": "10.0.0.1"})
    browser.cookies.clear()
    assert browser.get("/").status_code == 401


@pytest.mark.parametrize(
    "name", ["../pages.py", "..%2fpages.py", "%2e%2e/look.py", "console.py", "", "htmx.LICENSE", "\x00"]
)
def test_static_serves_its_own_files_only(name: str, browser: Browser) -> None:
    assert browser.get(f"/static/{name.replace(chr(0), '%00')}").status_code in (400, 404)
    assert browser.get("/static/console.css").headers["content-type"].startswith("text/css")


def test_data_is_only_ever_text(browser: Browser, fake: FakeNode) -> None:
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"
    brief = fake.world.brief(STUDY)
    assert brief is not None
    brief["spec"]["name"] = attack
    fake.world.of("vote", about=STUDY)[0]["spec"]["because"] = attack
    for path in (
        "/",
        "/inbox",
        "/records",
        f"/records/{STUDY}",
        f"/lineage/{STUDY}",
        "/ledger/52",
        f"/records?q={attack}",
    ):
        page = Reader(browser.get(path).text)
        assert all((script.get("src") or "").startswith("/static/") for script in page.all("script")), path
        assert not [image for image in page.all("img") if image.get("src") != "/static/comity.svg"]
    fake.refusals["/api/v1/ledger"] = Failure(400, "refused", attack, why=attack, hint=attack)
    assert "<script>alert" not in browser.get("/ledger").text


def test_errors_have_what_why_and_hint(browser: Browser) -> None:
    answer = browser.get("/records/nothing")
    assert answer.status_code == 404
    assert "no record `nothing`" in answer.text
    assert "<code>comity ls</code>" in answer.text
    assert browser.get("/ledger/999").status_code == 404
    assert browser.get("/ledger/top").status_code == 404
    assert answer.headers["content-security-policy"] == POLICY


def test_the_drawing_is_an_image_with_words_and_links(browser: Browser) -> None:
    text = browser.get("/lineage/breast-mlp@1").text
    svg = ElementTree.fromstring(
        re.findall(r"<svg class=\"lineage\".*?</svg>", text, re.DOTALL)[0].replace("&ldquo;", "")
    )
    assert svg.findtext("title") == "Lineage of northfield/breast-mlp@1"
    links = [link.get("href") or "" for link in svg.iter("a")]
    assert len(links) > 10
    assert all(browser.get(link).status_code == 200 for link in links)
    assert svg.findall(".//*[@style]") == []


def test_a_filter_survives_paging(browser: Browser, fake: FakeNode) -> None:
    text = browser.get("/records?kind=dataset&org=lakeside").text
    assert text.count('<tr><td class="kind">dataset</td>') == 1
    assert "<option selected>dataset</option>" in text
    assert 'rel="next"' in browser.get("/records").text
