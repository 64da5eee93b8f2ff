"""The console in a real Chromium: policy, live update, keyboard, 320 pixels, dark, without JavaScript, and axe where npm has it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from comity.shell import console
from support.chromium import BINARY, Tab, tab
from support.fake_node import LOGIN, FakeNode

pytestmark = [pytest.mark.browser, pytest.mark.skipif(BINARY is None, reason="no Chromium here")]
STUDY = "476e7a733199171522ea768f42a7a0c7e8aabb29c54992a35d9f3c767365bb54"
AXE = "axe-core@4.11.0"
PAGES = (
    "/", "/inbox", "/records", "/records/breast-mlp@1", f"/records/{STUDY}", "/lineage/breast-mlp@1", "/ledger", "/ledger/9",
)  # fmt: skip


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeNode]:
    """A node with a console, as `node.web` mounts it."""
    inner = FakeNode()
    fake = FakeNode(world=inner.world)
    api = httpx.AsyncClient(transport=httpx.ASGITransport(app=inner.app()), base_url="http://127.0.0.1")
    fake.mounts = console.routes(api)
    with fake.serve():
        yield fake


@pytest.fixture(scope="module")
def page(fake: FakeNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("profile")) as opened:
        opened.size(1280, 900)
        opened.open(f"{fake.url}/login/{LOGIN}")
        yield opened


@pytest.fixture(autouse=True)
def quiet(page: Tab) -> Iterator[None]:
    """No test may leave a violation of the policy, a refused load or a script error."""
    page.problems.clear()
    page.size(1280, 900)
    yield
    page.run("1")
    assert page.problems == []


def test_the_link_opens_the_console(page: Tab) -> None:
    assert page.run("document.querySelector('h1').textContent") == "northfield"
    assert page.run("document.cookie") == ""


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_320_pixels_and_the_dark(path: str, page: Tab, fake: FakeNode) -> None:
    page.size(320, 700, dark=True)
    page.open(fake.url + path)
    assert page.run("document.documentElement.scrollWidth") <= 320
    assert page.run("getComputedStyle(document.documentElement).backgroundColor") == "rgb(20, 24, 26)"
    folder = os.environ.get("COMITY_TEST_PICTURES")
    for width, dark in ((1280, False), (1280, True), (320, False)) if folder else ():
        page.size(width, 900, dark=dark)
        page.picture(
            Path(folder or "")
            / f"{path.strip('/').replace('/', '-')[:24] or 'home'}-{width}{'-dark' if dark else ''}.png"
        )


def test_verify_in_place(page: Tab, fake: FakeNode) -> None:
    page.open(f"{fake.url}/records/breast-mlp@1")
    page.run("window.same = true; document.querySelector('.actions button').click()")
    page.until("document.querySelector('#verification').textContent.includes('✓ Verified')")
    assert page.run("window.same") is True


def test_home_follows_the_ledger(page: Tab, fake: FakeNode) -> None:
    page.open(fake.url + "/")
    page.run("window.same = true")
    fake.world.height += 1
    page.until(f"document.querySelector('.figures dd').textContent.startsWith('{fake.world.height}')")
    assert page.run("window.same") is True
    page.until("!document.querySelector('time').textContent.includes('UTC')")


def test_keyboard(page: Tab, fake: FakeNode) -> None:
    page.open(fake.url + "/ledger")
    page.key("Tab", "Tab", 9)
    assert page.run("document.activeElement.textContent") == "Skip to the page"
    page.key("/", "Slash", 191)
    assert page.run("document.activeElement.id") == "search"
    assert page.run("document.activeElement.value") == ""
    page.send("Input.insertText", text="triage")
    page.key("Enter", "Enter", 13)
    page.run("document.activeElement.form && document.activeElement.form.requestSubmit()")
    page.until("location.search === '?q=triage' && document.readyState === 'complete'")
    assert page.run("document.querySelectorAll('tbody tr').length") == 1


def test_without_javascript(page: Tab, fake: FakeNode) -> None:
    page.javascript(on=False)
    try:
        for path in PAGES:
            page.send("Page.navigate", url=fake.url + path)
            page.until(f"document.readyState === 'complete' && location.pathname === '{path}'")
            assert page.run("document.querySelectorAll('h1').length") == 1
            assert page.run("document.documentElement.classList.contains('js')") is False
    finally:
        page.javascript(on=True)


@pytest.mark.peer
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(dark: bool, page: Tab, fake: FakeNode, tmp_path_factory: pytest.TempPathFactory) -> None:
    script = _axe(tmp_path_factory.getbasetemp())
    page.send("Page.setBypassCSP", enabled=True)
    try:
        for path in PAGES:
            page.size(1280, 900, dark=dark)
            page.open(fake.url + path)
            page.run(script + ";0")
            found = page.run(
                "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
                ".then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120)).slice(0, 3).join(' | ')))"
            )
            assert found == [], path
    finally:
        page.send("Page.setBypassCSP", enabled=False)


def _axe(folder: Path) -> str:
    """axe-core from the npm registry, fetched once a session."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here")
    path = folder / "package" / "axe.min.js"
    if not path.exists():
        done = subprocess.run(
            [npm, "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode != 0:
            pytest.skip("npm cannot fetch axe-core")
        subprocess.run(["tar", "xzf", done.stdout.strip().splitlines()[-1]], cwd=folder, check=True)
    return path.read_text()
